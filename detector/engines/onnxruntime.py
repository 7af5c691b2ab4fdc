"""The fast engine: the ONNX graph of `onnx_model` in onnxruntime. Imports no TensorFlow."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.engines import split_anchors
from detector.engines.cores import usable_cores
from detector.onnx_model import INPUT, OUTPUT, build_onnx
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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(build_onnx(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
        return cls(session, len(model.spec.anchors))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.Engine`."""
        (logits,) = self.session.run([OUTPUT], {INPUT: images})
        return split_anchors(logits, self.anchors)


load = OnnxEngine.of
