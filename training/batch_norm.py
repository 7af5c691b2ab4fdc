"""Batch norm of training as one operation of TensorFlow's in each direction, where Keras's own makes a pass over the numbers for each of
moments, differences, squares and products. Same variables, same numbers up to rounding."""

from typing import Any

import keras
import tensorflow as tf


class FusedBatchNorm(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras's layer over the last axis, quicker where its statistics move."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """(N, H, W, C) -> the same; without a mask, which no image has."""
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(inputs) // tf.size(mean), tf.float32)
        biased = variance * (tf.maximum(count - 1, 1) / count)  # as Keras keeps it; the operation divides by count - 1
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, biased)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs
