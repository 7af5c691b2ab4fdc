"""Precisions and devices of each engine. This module does not import the engines' libraries."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal

from detector.engines.cores import has_bfloat16, has_vnni

Precision = Literal["float32", "bfloat16", "int8"]
"""Number format of the convolutions. In every format, sums have at least 32 bits."""
Device = Literal["auto", "cpu", "gpu", "npu", "cuda", "tensorrt", "coreml", "directml"]
"""Hardware that runs the network. "gpu" is the best GPU that the library supports; the last four are libraries for GPUs and NPUs."""

PRECISIONS: Mapping[str, tuple[Precision, ...]] = {
    "onnxruntime": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
    "tensorflow": ("float32",),
    "tensornets": ("float32",),
}
"""Precisions of each engine."""
DEVICES: Mapping[str, tuple[Device, ...]] = {
    "onnxruntime": ("auto", "cpu", "gpu", "cuda", "tensorrt", "coreml", "directml"),
    "openvino": ("auto", "cpu", "gpu", "npu"),
    "tensorflow": ("auto",),
    "tensornets": ("auto",),
}
"""Devices of each engine. TensorFlow chooses its own."""
MAX_SECOND_SESSION_BYTES = 2**26
"""Largest model, in bytes of its arrays, that gets a second session with its own copy of the arrays, for parallel calls."""

RACED_ENGINES = ("onnxruntime", "openvino")
"""Engines among which "auto" chooses. The others are references: slow to start, and never the fastest."""


def installed_engines() -> tuple[str, ...]:
    """Return the engines of RACED_ENGINES that are installed."""
    return tuple(name for name in RACED_ENGINES if find_spec(name) is not None)


def unsupported_reason(engine: str, precision: Precision, device: Device) -> str | None:
    """Return why the engine cannot compute in this precision on this device, as a sentence without its full stop; None if it can."""
    if device not in DEVICES[engine]:
        others = [name for name, devices in DEVICES.items() if device in devices]
        return f"the engine {engine} does not support the device {device!r}; use {' or '.join(others)}"
    if precision not in PRECISIONS[engine]:
        others = [name for name, precisions in PRECISIONS.items() if precision in precisions]
        return f"the engine {engine} does not compute in {precision}; use {' or '.join(others)}"
    if precision == "bfloat16" and (device not in ("auto", "cpu") or not has_bfloat16()):
        return "bfloat16 requires a processor with AVX-512 BF16 or AMX, and the device 'cpu'"
    if precision == "int8" and engine == "openvino" and device in ("auto", "cpu") and not has_vnni():
        return "OpenVINO computes int8 correctly only on processors with VNNI; the engine onnxruntime works on all"
    return None
