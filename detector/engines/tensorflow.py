"""The reference engine: TensorFlow compiles the Keras model of `keras_model`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from detector.engines import split_anchors
from detector.engines.support import Precision
from detector.network.keras_model import build_keras
from detector.network.spec import Model


@dataclass(frozen=True)
class TensorflowEngine:
    """A compiled function and the number of anchors of its output."""

    function: Any
    anchors: int
    name: str = "tensorflow"
    precision: Precision = "float32"

    @classmethod
    def of(cls, model: Model) -> "TensorflowEngine":
        """Build the Keras model and compile it for any batch size."""
        network = build_keras(model)
        size = model.spec.input_size
        signature = [tf.TensorSpec((None, size, size, 3), tf.float32)]
        return cls(tf.function(lambda images: network(images, training=False), input_signature=signature), len(model.spec.anchors))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.Engine`."""
        return split_anchors(self.function(tf.constant(images)).numpy(), self.anchors)
