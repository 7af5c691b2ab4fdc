"""Inference engines: one call runs a model's network.

engine(images (N, S, S, 3) float32, 0..255) -> logits (N, G, G, A, 5 + C) float32
"""

import importlib
from dataclasses import replace
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detector.engines.support import DEVICES, Device, Precision, unsupported_reason
from detector.errors import MissingExtra, SettingError
from detector.network.spec import Model

EngineName = Literal["auto", "onnxruntime", "openvino", "tensorflow"]


class Engine(Protocol):
    """Runs a model's network: pixels in, logits out."""

    @property
    def name(self) -> str:
        """The library that runs the network: "onnxruntime", "openvino", "tensorflow" or "tensornets"."""

    @property
    def precision(self) -> Precision:
        """The precision of the convolutions. In "int8", some layers may stay in float32."""

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, S, S, 3) float32, 0..255 -> (N, G, G, A, 5 + C) float32 logits."""


@runtime_checkable
class ConcurrentEngine(Engine, Protocol):
    """An engine that several threads may call at the same time."""

    def run_concurrently(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same logits, bit for bit, with one thread per call.

        Several single-threaded calls in parallel give more throughput than sequential multi-threaded calls.
        """


def load_engine(
    model: Model,
    name: EngineName = "auto",
    *,
    device: Device = "auto",
    precision: Precision | None = None,
    threads: int | None = None,
    concurrent_sessions: bool = False,
) -> Engine:
    """Build the engine of that name for a model.

    Args:
        model: The model to run.
        name: Engine name. "auto" is onnxruntime, or openvino for a precision or device that onnxruntime lacks.
        device: The device that runs the network. "auto" is CUDA if onnxruntime is used and supports it, and otherwise the CPU. TensorFlow
            chooses its own device.
        precision: None is int8 if the model is quantized and the engine supports that, and otherwise float32.
        threads: Threads of one call. None uses all processors. TensorFlow reads TF_NUM_INTRAOP_THREADS instead.
        concurrent_sessions: Expect parallel calls. An engine may then use memory for a second, single-threaded session.

    Raises:
        SettingError: The name is unknown, the engine cannot compute in this precision, or the device is missing.
        MissingExtra: The engine's packages are not installed.
    """
    if name not in get_args(EngineName):
        raise SettingError(f"unknown engine {name!r}; choose one of {', '.join(get_args(EngineName))}.")
    chosen, used = _engine_and_precision(model, name, precision, device)
    if used != "int8":
        model = replace(model, quantization=None)
    try:
        module = importlib.import_module(f"detector.engines.{chosen}")
    except ModuleNotFoundError as error:
        extra = "openvino" if chosen == "openvino" else "train"
        raise MissingExtra(f"engine {chosen!r} needs {error.name}, which is not installed. Install the extra '{extra}'.") from error
    match chosen:
        case "tensorflow":
            engine: Engine = module.TensorflowEngine.of(model)
        case "openvino":
            engine = module.OpenvinoEngine.of(
                model, device=device, precision=used, threads=threads, concurrent_sessions=concurrent_sessions
            )
        case _:
            engine = module.OnnxEngine.of(model, device=device, threads=threads, concurrent_sessions=concurrent_sessions)
    return engine


def _engine_and_precision(model: Model, name: EngineName, precision: Precision | None, device: Device) -> tuple[str, Precision]:
    """Choose the engine and the precision that the user left open. Raises SettingError for an unsupported combination."""
    if precision == "int8" and model.quantization is None:
        raise SettingError(f"{model.name!r} has no 8-bit version. 'boxwright quantize' makes one; or choose another precision.")
    chosen_precision: Precision = precision or ("int8" if model.quantization else "float32")
    chosen = _engine_for(chosen_precision, device) if name == "auto" else name
    if precision is None and chosen_precision == "int8" and unsupported_reason(chosen, "int8", device):
        chosen_precision = "float32"  # the engine computes the kernels, which are rounded to 8 bits, in float32
    if reason := unsupported_reason(chosen, chosen_precision, device):
        raise SettingError(f"{reason}.")
    return chosen, chosen_precision


def _engine_for(precision: Precision, device: Device) -> str:
    suitable = (engine for engine in ("onnxruntime", "openvino") if unsupported_reason(engine, precision, device) is None)
    return next(suitable, "openvino" if device not in DEVICES["onnxruntime"] or precision == "bfloat16" else "onnxruntime")


def split_anchors(logits: NDArray[np.float32], anchors: int) -> NDArray[np.float32]:
    """(N, G, G, A * (5 + C)) -> (N, G, G, A, 5 + C). The output of a backbone, which has no anchors, is returned unchanged."""
    return logits.reshape(*logits.shape[:3], anchors, -1) if anchors else logits
