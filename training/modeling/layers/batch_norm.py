"""Batch norm of training as one operation of TensorFlow's in each direction, where Keras's own makes a pass over the numbers for each of
moments, differences, squares and products. Same variables, same numbers up to rounding.

Where a batch is shared out among workers, mean and variance are those of the whole batch."""

from typing import Any

import keras
import tensorflow as tf

from training.distributed.process_group import Team


class FusedBatchNorm(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras's layer over the last axis, quicker where its statistics move. folded: where it does not train, the kernel before has its scale
    (`training.modeling.layers.folded_conv`), and what is left of it is a bias."""

    folded = False

    def scale_of_kernel(self) -> Any:
        """(C,): what the kernel before is to be multiplied by; None where this layer does it."""
        return None if self.trainable or not self.folded else self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """(N, H, W, C) -> the same; without a mask, which no image has."""
        if (scale := self.scale_of_kernel()) is not None:
            return tf.nn.bias_add(inputs, tf.cast(self.beta - self.moving_mean * scale, inputs.dtype))
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        outputs, mean, variance = self._normalised(inputs, gamma, beta)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs

    def _normalised(self, inputs: Any, gamma: Any, beta: Any) -> tuple[Any, Any, Any]:
        """The outputs; mean (C,) and biased variance (C,) of the batch."""
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(inputs) // tf.size(mean), tf.float32)
        return outputs, mean, variance * (tf.maximum(count - 1, 1) / count)  # the operation divides by count - 1


class SharedBatchNorm(FusedBatchNorm):
    """The same on one worker's share of a batch, with the statistics of the whole: one sum over the workers in each direction."""

    def __init__(self, *, team: Team, **options: Any) -> None:
        super().__init__(**options)
        self._team = team

    def _normalised(self, inputs: Any, gamma: Any, beta: Any) -> tuple[Any, Any, Any]:
        normalised: tuple[Any, Any, Any] = self._with_gradient(inputs, gamma, beta)
        return normalised

    @property
    def _with_gradient(self) -> Any:
        """TensorFlow's own operation takes a mean that it is given for a constant."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def normalised(inputs: Any, gamma: Any, beta: Any) -> Any:
            count, mean, variance = self._moments(inputs)
            outputs, *_ = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, mean, variance, epsilon=self.epsilon, is_training=False)

            def gradient(upstream: Any, *_: Any) -> tuple[Any, Any, Any]:
                """Ioffe & Szegedy, arXiv 1502.03167, section 3, with the sums over all workers."""
                scale = tf.math.rsqrt(variance + self.epsilon)
                apart = (tf.cast(inputs, tf.float32) - mean) * scale
                steep = tf.cast(upstream, tf.float32)
                ours = [tf.reduce_sum(steep, (0, 1, 2)), tf.reduce_sum(steep * apart, (0, 1, 2))]
                of_beta, of_gamma = self._team.sum(ours)
                of_inputs = gamma * scale * (steep - (of_beta + apart * of_gamma) / count)
                return tf.cast(of_inputs, inputs.dtype), ours[1], ours[0]  # of gamma and beta: summed with the other gradients

            return (outputs, mean, variance), gradient

        return normalised

    def _moments(self, inputs: Any) -> tuple[Any, Any, Any]:
        """How many numbers a channel has in the whole batch, their mean and their biased variance.

        Workers' shares may differ by a photo. Variances of shares are joined by their means' distances (Chan et al. 1979): a sum of
        squares less the squared mean would lose the digits that count.
        """
        mean, variance = tf.nn.moments(tf.cast(inputs, tf.float32), (0, 1, 2))
        count = tf.cast(tf.size(inputs) // tf.size(mean), tf.float32)
        place = tf.one_hot(self._team.share.index, self._team.count)[:, None]
        counts, means, variances = self._team.sum([place * count, place * mean, place * variance])  # (workers, 1), (workers, C) twice
        whole = tf.reduce_sum(counts)
        middle = tf.reduce_sum(counts * means, 0) / whole
        return whole, middle, tf.reduce_sum(counts * (variances + tf.square(means - middle)), 0) / whole
