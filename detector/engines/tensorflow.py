"""The reference engine: the Keras model of `keras_model`, compiled by TensorFlow."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from detector.engines import split_anchors
from detector.keras_model import build_keras
from detector.spec import Model


@dataclass(frozen=True)
class TensorflowEngine:
    """A compiled function and how many anchors its output holds."""

    function: Any
    anchors: int
    name: str = "tensorflow"

    @classmethod
    def of(cls, model: Model) -> "TensorflowEngine":
        """Build the Keras model and compile it for any number of photos."""
        network = build_keras(model)
        size = model.spec.input_size

        signature = [tf.TensorSpec((None, size, size, 3), tf.float32)]
        return cls(tf.function(lambda images: network(images, training=False), input_signature=signature), len(model.spec.anchors))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `engines.Engine`."""
        return split_anchors(self.function(tf.constant(images)).numpy(), self.anchors)


load = TensorflowEngine.of
