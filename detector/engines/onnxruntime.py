"""The fast engine: the ONNX graph of `onnx_model` in onnxruntime. Imports no TensorFlow."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.engines import split_anchors
from detector.engines.cores import has_vnni, usable_cores
from detector.onnx_model import FEATURES, INPUT, OUTPUT, Parts, build_apart, build_apart_until
from detector.spec import Model


@dataclass(frozen=True)
class OnnxEngine:
    """A session and how many anchors its output holds."""

    session: Any
    anchors: int
    name: str = "onnxruntime"

    @classmethod
    def of(cls, model: Model, *, threads: int | None = None) -> "OnnxEngine":
        """Build the graph and load it. threads: of one call; None: as many as there are processors for this process."""
        return cls(_session(build_apart(model), threads), len(model.spec.anchors))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.Engine`."""
        (logits,) = self.session.run([OUTPUT], {INPUT: images})
        return split_anchors(logits, self.anchors)


@dataclass(frozen=True)
class OnnxStem:
    """The beginning of a network: what some of its layers say, for whoever computes the rest."""

    session: Any
    layers: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, layers: tuple[str, ...], *, threads: int | None = None) -> "OnnxStem":
        """Those layers, in the network's order, and all they need. threads: as in `OnnxEngine.of`."""
        return cls(_session(build_apart_until(model, layers), threads), layers)

    def __call__(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(N, S, S, 3), 0..255 -> each layer's output (N, side, side, channels), by name."""
        results = self.session.run([FEATURES.format(layer) for layer in self.layers], {INPUT: images})
        return dict(zip(self.layers, results, strict=True))


def _session(parts: Parts, threads: int | None) -> Any:
    graph, kernels = parts
    options = _options(threads or usable_cores())
    options.add_external_initializers(list(kernels), [onnxruntime.OrtValue.ortvalue_from_numpy(kernel) for kernel in kernels.values()])
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=_providers(), disabled_optimizers=_HARMFUL)


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
    return [provider for provider in ("CUDAExecutionProvider", "CPUExecutionProvider") if provider in available]


load = OnnxEngine.of
