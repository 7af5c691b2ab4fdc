"""The fast engine: the ONNX graph of `onnx_model` in onnxruntime. Imports no TensorFlow, and `onnx` only to build a graph."""

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
from detector.engines.cores import has_vnni, instructions, usable_cores
from detector.errors import EngineCacheError
from detector.onnx.names import FEATURES, INPUT, OUTPUT
from detector.spec import Model

if TYPE_CHECKING:
    from detector.onnx.graph import Parts

GRAPH, KERNELS = "graph.onnx", "kernels"
"""The files of an engine that is kept: the graph as onnxruntime has optimised it, and its constants, which are mapped into memory."""


LANES_UP_TO = 2**26
"""Bytes of a model's arrays up to which an engine that is built has a second copy of them, for calls beside one another."""


@dataclass(eq=False)
class OnnxEngine:
    """A session and how many anchors its output holds."""

    session: Any
    anchors: int
    name: str = "onnxruntime"
    narrow: Any = None
    """Another session of the same network, of one thread, where there is one."""

    @classmethod
    def of(cls, model: Model, *, threads: int | None = None, keep: Path | None = None, lanes: bool = False) -> "OnnxEngine":
        """Build the graph and load it. threads: of one call; None: as many as there are processors for this process.

        keep: a folder for GRAPH and KERNELS, of which `kept` makes the same engine. Raises KeepError where they cannot be written.
        lanes: as `add_lane` does.
        """
        from detector.onnx.graph import build_apart

        engine = cls(_session(build_apart(model), threads, keep), len(model.spec.anchors))
        if lanes:
            engine.add_lane(model)
        return engine

    @classmethod
    def kept(cls, folder: Path, anchors: int, *, threads: int | None = None) -> "OnnxEngine":
        """The engine in that folder, in milliseconds. Raises KeepError where the files are none of onnxruntime's, or were cut short.

        Its two sessions have the same memory for their constants: the file's.
        """
        try:
            wide, narrow = (_kept_session(folder, count) for count in (threads or usable_cores(), 1))
        except _REFUSALS as error:
            raise EngineCacheError(f"{folder}: onnxruntime cannot read it: {error}") from error
        return cls(wide, anchors, narrow=narrow)

    def add_lane(self, model: Model) -> None:
        """Load the model once more for calls beside one another: on a processor, where calls have several threads, up to LANES_UP_TO."""
        from detector.onnx.graph import build_apart

        small = sum(array.nbytes for array in model.arrays.values()) <= LANES_UP_TO
        if small and can_cache() and self.session.get_session_options().intra_op_num_threads > 1:
            self.narrow = _session(build_apart(model), 1)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.Engine`."""
        return self._run(self.session, images)

    def beside(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.ParallelEngine`. Where there is no session of one thread, calls share the threads of the other."""
        return self._run(self.narrow or self.session, images)

    def _run(self, session: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run([OUTPUT], {INPUT: images})
        return split_anchors(logits, self.anchors)


@dataclass(frozen=True)
class OnnxFeatureExtractor:
    """The beginning of a network: what some of its layers say, for whoever computes the rest."""

    session: Any
    layers: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, layers: tuple[str, ...], *, threads: int | None = None) -> "OnnxFeatureExtractor":
        """Those layers, in the network's order, and all they need. threads: as in `OnnxEngine.of`."""
        from detector.onnx.graph import build_apart_until

        return cls(_session(build_apart_until(model, layers), threads), layers)

    def __call__(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(N, S, S, 3), 0..255 -> each layer's output (N, side, side, channels), by name."""
        results = self.session.run([FEATURES.format(layer) for layer in self.layers], {INPUT: images})
        return dict(zip(self.layers, results, strict=True))


def can_cache() -> bool:
    """Whether engines can be kept: on a processor. What is made for a GPU is of that GPU, and its driver."""
    return _providers() == [_CPU]


def kind() -> str:
    """A hash of all that a kept engine depends on, besides its model: this code, onnx and onnxruntime, the processor's instructions."""
    digest = hashlib.blake2b(digest_size=16)
    for source in sorted(Path(__file__).resolve().parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    versions = metadata.version("onnx"), onnxruntime.__version__, np.__version__  # onnx unread: where an engine is kept, nobody needs it
    digest.update(f"{versions} {platform.machine()} {instructions()}".encode())
    return digest.hexdigest()


def _session(parts: "Parts", threads: int | None, keep: Path | None = None) -> Any:
    graph, kernels = parts
    options = _options(threads or usable_cores())
    options.add_external_initializers(list(kernels), [onnxruntime.OrtValue.ortvalue_from_numpy(kernel) for kernel in kernels.values()])
    if keep is not None:
        options.optimized_model_filepath = str(keep / GRAPH)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", KERNELS)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        options.log_severity_level = 3  # else it warns that the file is for this kind of processor, as it shall be
    try:
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=_providers(), disabled_optimizers=_HARMFUL)
    except _REFUSALS as error:
        if keep is None:
            raise
        raise EngineCacheError(f"{keep}: onnxruntime cannot write its graph there: {error}") from error


def _kept_session(folder: Path, threads: int) -> Any:
    options = _options(threads)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # that has been done
    return onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=[_CPU])


_CPU = "CPUExecutionProvider"
_REFUSALS = (
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)
_HARMFUL = ["WeightBiasQuantization"]
"""It puts float32 convolutions between two quantised tensors into 8 bits too, with one scale for all filters: on `everyday`, whose first
depthwise layer was left in float32 for its accuracy, the error of the logits grew tenfold."""


def _options(threads: int) -> Any:
    """Measured in docs/performance.md."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave the cores to those that decode
    if not has_vnni():
        # There products of 8 bits are summed up in 16, and may overflow unless the kernels are unsigned, which is slower.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _providers() -> list[str]:
    """The GPU's where onnxruntime-gpu is installed; it takes the processor's for what it cannot do, or if there is no GPU after all."""
    available = onnxruntime.get_available_providers()
    return [provider for provider in ("CUDAExecutionProvider", _CPU) if provider in available]


load = OnnxEngine.of
