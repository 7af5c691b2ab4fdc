"""The OpenVINO engine: it runs the graph of `onnx.graph`, which `boxwright export --to onnx` also writes."""

import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from detector.engines import split_anchors
from detector.engines.cores import usable_cores
from detector.engines.support import MAX_SECOND_SESSION_BYTES, Device, Precision
from detector.errors import EngineCacheError, SettingError
from detector.network.spec import Model

COMPILED_FILE = "compiled.blob"  # File of a cached engine: the network after OpenVINO's transformations.


@dataclass(eq=False)
class OpenvinoEngine:
    """A compiled network and the number of anchors of its output."""

    session: "CompiledNetwork"
    anchors: int
    name: str = "openvino"
    precision: Precision = "float32"
    single_threaded_session: "CompiledNetwork | None" = None
    """Optional second network, which runs several calls at the same time with one thread each."""

    @classmethod
    def of(
        cls,
        model: Model,
        *,
        device: Device = "auto",
        precision: Precision | None = None,
        threads: int | None = None,
        concurrent_sessions: bool = False,
    ) -> "OpenvinoEngine":
        """Build the graph and compile it for one image, in 8 bits if the model is quantized.

        Args:
            model: The model to run.
            device: "auto" is the CPU. "gpu" and "npu" are Intel's devices.
            precision: In every precision except "bfloat16", layers that are not quantized compute in exact float32.
            threads: Threads of one call. None uses all processors of this process.
            concurrent_sessions: Add a network for parallel calls; see `add_single_threaded_session`.

        Raises:
            SettingError: OpenVINO finds no such device, or the device cannot compute this network.
        """
        used: Precision = precision or ("int8" if model.quantization else "float32")
        compiled = _compile(model, device, used, _cpu_options(threads or usable_cores(), parallel=False))
        engine = cls(CompiledNetwork(compiled), len(model.spec.anchors), precision=used)
        if concurrent_sessions:
            engine.add_single_threaded_session(model, device)
        return engine

    @classmethod
    def from_cache(
        cls, folder: Path, anchors: int, *, precision: Precision = "float32", concurrent_sessions: bool = False
    ) -> "OpenvinoEngine":
        """Load a cached engine, which skips reading the model, building the graph and transforming it.

        Raises EngineCacheError if the file is damaged, or OpenVINO did not write it.
        """
        try:
            blob = (folder / COMPILED_FILE).read_bytes()
            parallel = (False, True) if concurrent_sessions and len(blob) <= MAX_SECOND_SESSION_BYTES else (False,)
            loaded = [_import(blob, _cpu_options(usable_cores(), parallel=each) | _hints(precision)) for each in parallel]
        except (OSError, RuntimeError) as error:
            raise EngineCacheError(f"{folder}: OpenVINO cannot read the cached engine: {error}") from error
        networks = [CompiledNetwork(each) for each in loaded]
        return cls(networks[0], anchors, precision=precision, single_threaded_session=networks[1] if len(networks) > 1 else None)

    def write_cache(self, folder: Path) -> None:
        """Write COMPILED_FILE for `from_cache`. Raises EngineCacheError."""
        try:
            exported = self.session.compiled.export_model()
            (folder / COMPILED_FILE).write_bytes(exported if isinstance(exported, bytes) else exported.getvalue())
        except (OSError, RuntimeError) as error:
            raise EngineCacheError(f"{folder}: OpenVINO cannot write its network there: {error}") from error

    def add_single_threaded_session(self, model: Model, device: Device = "auto") -> None:
        """Compile the model again for parallel calls.

        Does nothing on devices other than the CPU, with one processor, or for a model above MAX_SECOND_SESSION_BYTES.
        """
        small = sum(array.nbytes for array in model.arrays.values()) <= MAX_SECOND_SESSION_BYTES
        if small and device in ("auto", "cpu") and usable_cores() > 1:
            options = _cpu_options(usable_cores(), parallel=True)
            self.single_threaded_session = CompiledNetwork(_compile(model, device, self.precision, options))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.Engine`."""
        return split_anchors(self.session(images), self.anchors)

    def run_concurrently(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.ConcurrentEngine`. Without a network for parallel calls, calls wait for each other."""
        return split_anchors((self.single_threaded_session or self.session)(images), self.anchors)


@dataclass(eq=False)
class CompiledNetwork:
    """A compiled network for one image. Several threads may call it: each has its own request."""

    compiled: Any
    requests: threading.local = field(default_factory=threading.local)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, S, S, 3) -> (N, G, G, channels). Images run one at a time: a batch is not faster on a CPU (decision 7)."""
        if not hasattr(self.requests, "request"):
            self.requests.request = self.compiled.create_infer_request()
        request = self.requests.request
        logits = np.empty((len(images), *tuple(self.compiled.outputs[0].shape)[1:]), np.float32)
        for index, image in enumerate(images):
            request.infer({0: np.ascontiguousarray(image[None])}, share_inputs=True)
            logits[index] = request.get_output_tensor(0).data[0]
        return logits


def openvino_fingerprint() -> str:
    """Return what a cached engine depends on in addition to `onnxruntime.engine_fingerprint`: the version of OpenVINO."""
    return f"openvino {openvino.get_version()}"


@cache
def _core() -> Any:
    return openvino.Core()


def _compile(model: Model, device: Device, precision: Precision, cpu_options: dict[str, Any]) -> Any:
    from detector.onnx.graph import build_onnx

    name = _device_name(device)
    network = _core().read_model(build_onnx(model).SerializeToString())
    network.reshape({network.inputs[0]: [1, model.spec.input_size, model.spec.input_size, 3]})  # a fixed batch computes faster
    try:
        return _core().compile_model(network, name, _hints(precision) | (cpu_options if name == "CPU" else {}))
    except RuntimeError as error:
        raise SettingError(f"OpenVINO cannot compile {model.name!r} for the device {name} in {precision}: {error}") from error


def _device_name(device: Device) -> str:
    name = "CPU" if device == "auto" else device.upper()
    available = {each.partition(".")[0] for each in _core().available_devices}
    if name not in available:
        raise SettingError(
            f"device {device!r}: OpenVINO finds only {', '.join(sorted(available))} on this machine. "
            "Install the driver of the device, or choose the device 'cpu'."
        )
    return name


def _hints(precision: Precision) -> dict[str, Any]:
    """Return the hints for latency and precision. Without the precision hint, OpenVINO computes in bfloat16 where it can."""
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}


def _cpu_options(threads: int, *, parallel: bool) -> dict[str, Any]:
    """Return one stream with all threads, or one stream per thread. Threads are not pinned, because other processes use the cores too."""
    return {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads if parallel else 1, "ENABLE_CPU_PINNING": False}


def _import(blob: bytes, options: dict[str, Any]) -> Any:
    return _core().import_model(blob, "CPU", options)
