"""The default engine: onnxruntime runs the graph of `onnx.graph`. It never imports TensorFlow, and imports `onnx` only to build a graph."""

import hashlib
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from detector.engines import split_anchors
from detector.engines.cores import cpu_flags, has_vnni, usable_cores
from detector.engines.support import MAX_SECOND_SESSION_BYTES, Device, Precision
from detector.errors import EngineCacheError, SettingError
from detector.network.spec import Model
from detector.onnx.names import FEATURES, INPUT, OUTPUT

if TYPE_CHECKING:
    from detector.onnx.graph import OnnxParts

GRAPH_FILE, KERNELS_FILE = "graph.onnx", "kernels"
"""Files of a cached engine: the optimised graph, and its constants, which are memory-mapped."""


@dataclass(eq=False)
class OnnxEngine:
    """An onnxruntime session and the number of anchors of its output."""

    session: Any
    anchors: int
    name: str = "onnxruntime"
    precision: Precision = "float32"
    single_threaded_session: Any = None  # Optional second session of the same network, with one thread.

    @classmethod
    def of(
        cls,
        model: Model,
        *,
        device: Device = "auto",
        threads: int | None = None,
        cache_folder: Path | None = None,
        concurrent_sessions: bool = False,
    ) -> "OnnxEngine":
        """Build the graph and load it.

        Args:
            model: The model to run, in 8 bits if it is quantized.
            device: See `execution_providers`.
            threads: Threads of one call. None uses all processors of this process.
            cache_folder: Write GRAPH_FILE and KERNELS_FILE there, for `from_cache`.
            concurrent_sessions: Add a single-threaded session; see `add_single_threaded_session`.

        Raises:
            EngineCacheError: The files cannot be written.
            SettingError: The installed onnxruntime does not support the device.
        """
        from detector.onnx.graph import build_onnx_parts

        providers = execution_providers(device)
        session = _build_session(build_onnx_parts(model), threads, cache_folder, providers)
        engine = cls(session, len(model.spec.anchors), precision="int8" if model.quantization else "float32")
        if concurrent_sessions:
            engine.add_single_threaded_session(model)
        return engine

    @classmethod
    def from_cache(cls, folder: Path, anchors: int, *, precision: Precision = "float32") -> "OnnxEngine":
        """Load a cached engine in milliseconds. Its two sessions share the memory-mapped constants.

        Raises EngineCacheError if the files are damaged, or onnxruntime did not write them.
        """
        try:
            multi_threaded, single_threaded = (_load_cached_session(folder, count) for count in (usable_cores(), 1))
        except _ONNXRUNTIME_ERRORS as error:
            raise EngineCacheError(f"{folder}: onnxruntime cannot read the cached engine: {error}") from error
        return cls(multi_threaded, anchors, precision=precision, single_threaded_session=single_threaded)

    def add_single_threaded_session(self, model: Model) -> None:
        """Load the model again for parallel calls.

        Does nothing on a GPU, if calls already have one thread, or for a model above MAX_SECOND_SESSION_BYTES.
        """
        from detector.onnx.graph import build_onnx_parts

        small = sum(array.nbytes for array in model.arrays.values()) <= MAX_SECOND_SESSION_BYTES
        on_cpu = self.session.get_providers() == [_CPU]
        if small and on_cpu and self.session.get_session_options().intra_op_num_threads > 1:
            self.single_threaded_session = _build_session(build_onnx_parts(model), 1)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.Engine`."""
        return self._run(self.session, images)

    def run_concurrently(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.ConcurrentEngine`. Without a single-threaded session, calls share the threads of the other session."""
        return self._run(self.single_threaded_session or self.session, images)

    def _run(self, session: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run([OUTPUT], {INPUT: images})
        return split_anchors(logits, self.anchors)


@dataclass(frozen=True)
class OnnxFeatureExtractor:
    """The first layers of a network, with the outputs of some of them."""

    session: Any
    layers: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, layers: tuple[str, ...], *, threads: int | None = None) -> "OnnxFeatureExtractor":
        """Load these layers, given in network order, and the layers that they need. threads: as in `OnnxEngine.of`."""
        from detector.onnx.graph import build_feature_parts

        return cls(_build_session(build_feature_parts(model, layers), threads), layers)

    def __call__(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(N, S, S, 3), 0..255 -> each layer's output (N, side, side, channels), by layer name."""
        results = self.session.run([FEATURES.format(layer) for layer in self.layers], {INPUT: images})
        return dict(zip(self.layers, results, strict=True))


def can_cache(device: Device = "auto") -> bool:
    """Return whether engines can be cached: only on a CPU. A GPU engine depends on the GPU and its driver."""
    return execution_providers(device) == [_CPU]


def execution_providers(device: Device) -> list[Any]:
    """Return onnxruntime's execution providers for a device. The CPU runs operators that the first provider does not support.

    "auto" is CUDA if this onnxruntime has it, and otherwise the CPU. "gpu" is the first available of _GPU_DEVICES. Raises SettingError if
    the installed onnxruntime has no such provider.
    """
    available = onnxruntime.get_available_providers()
    if device == "auto":
        return [_with_options(name) for name in ("CUDAExecutionProvider", _CPU) if name in available]
    if device == "cpu":
        return [_CPU]
    names = [_PROVIDERS[each] for each in (_GPU_DEVICES if device == "gpu" else (device,)) if each in _PROVIDERS]
    suitable = [name for name in names if name in available]
    if not suitable:
        raise SettingError(
            f"device {device!r} needs an onnxruntime with {', '.join(names)}. The installed one has {', '.join(available)}. Install "
            "onnxruntime-gpu (NVIDIA) or onnxruntime-directml (Windows), use the engine openvino (Intel), or choose the device 'cpu'."
        )
    return [_with_options(suitable[0]), _CPU]


def _with_options(provider: str) -> Any:
    """Return the provider with the options that keep float32 exact: CUDA rounds the factors to 10 bits (TF32) by default."""
    return (provider, {"use_tf32": "0"}) if provider == "CUDAExecutionProvider" else provider


def engine_fingerprint() -> str:
    """Hash what a cached engine depends on, except the model: this code, the libraries and the CPU's instruction sets."""
    digest = hashlib.blake2b(digest_size=16)
    for source in sorted(Path(__file__).resolve().parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    # The version of onnx comes from its metadata: loading a cached engine must not import onnx.
    versions = metadata.version("onnx"), onnxruntime.__version__, np.__version__
    digest.update(f"{versions} {platform.machine()} {cpu_flags()}".encode())
    return digest.hexdigest()


def _build_session(parts: "OnnxParts", threads: int | None, cache_folder: Path | None = None, providers: list[Any] | None = None) -> Any:
    graph, kernels = parts
    options = session_options(threads or usable_cores())
    options.add_external_initializers(list(kernels), [onnxruntime.OrtValue.ortvalue_from_numpy(kernel) for kernel in kernels.values()])
    if cache_folder is not None:
        options.optimized_model_filepath = str(cache_folder / GRAPH_FILE)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", KERNELS_FILE)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        options.log_severity_level = 3  # hides the warning that the file only suits this processor, which is intended
    try:
        return onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=providers or execution_providers("auto"), disabled_optimizers=_HARMFUL_OPTIMIZERS
        )
    except _ONNXRUNTIME_ERRORS as error:
        if cache_folder is None:
            raise
        raise EngineCacheError(f"{cache_folder}: onnxruntime cannot write its graph there: {error}") from error


def _load_cached_session(folder: Path, threads: int) -> Any:
    options = session_options(threads)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # the cached graph is optimised
    return onnxruntime.InferenceSession(str(folder / GRAPH_FILE), options, providers=[_CPU])


_CPU = "CPUExecutionProvider"
_PROVIDERS: dict[str, str] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
_GPU_DEVICES = ("cuda", "directml", "coreml")
"""In order of preference. TensorRT is used only on request, because it compiles a network for minutes."""
_ONNXRUNTIME_ERRORS = (
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)
_HARMFUL_OPTIMIZERS = ["WeightBiasQuantization"]
"""This optimizer quantizes float32 convolutions between two quantized tensors, with one scale for all filters. It increased the error of
the logits tenfold in a model whose first depthwise layer stays in float32 for accuracy."""


def session_options(threads: int) -> Any:
    """Return the options that docs/performance.md compares. With them, 8-bit graphs are exact on every processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads spin while they wait for each other within a call. Between calls they leave the cores to threads that decode.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not has_vnni():
        # Such processors sum 8-bit products in 16 bits, which may overflow. The slower unsigned kernels avoid that.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options
