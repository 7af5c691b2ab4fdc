"""Batch normalisation for training, with the variables and results of Keras's layer, but one fused TensorFlow operation in each direction.

Keras's layer makes separate passes over the activations for moments, differences, squares and products.
"""

from typing import Any

import keras
import tensorflow as tf

from training.distributed.process_group import ProcessGroup


class FusedBatchNorm(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation over the last axis with a fused operation.

    Attributes:
        folded: If True and the layer is frozen, the previous convolution applies the scale (`training.modeling.layers.folded_conv`), and
            this layer only adds a bias.
    """

    folded = False

    def kernel_scale(self) -> Any:
        """Return the factor (C,) for the kernel of the previous convolution, or None if this layer scales the activations itself."""
        return None if self.trainable or not self.folded else self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (N, H, W, C). The mask must be None."""
        if (scale := self.kernel_scale()) is not None:
            return tf.nn.bias_add(inputs, tf.cast(self.beta - self.moving_mean * scale, inputs.dtype))
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        outputs, mean, variance = self._normalise(inputs, gamma, beta)
        for moving, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + current * (1 - self.momentum))
        return outputs

    def _normalise(self, inputs: Any, gamma: Any, beta: Any) -> tuple[Any, Any, Any]:
        """Return the outputs, and mean (C,) and biased variance (C,) of the batch."""
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(inputs) // tf.size(mean), tf.float32)
        return outputs, mean, variance * (tf.maximum(count - 1, 1) / count)  # the operation divides by count - 1


class SynchronizedBatchNorm(FusedBatchNorm):
    """Batch normalisation of one worker's shard with the statistics of the complete batch.

    Keras's `synchronized=True` sums over tf.distribute replicas inside `strategy.run`; our training step runs outside of it.
    """

    def __init__(self, *, group: ProcessGroup, **options: Any) -> None:
        super().__init__(**options)
        self._group = group

    def _normalise(self, inputs: Any, gamma: Any, beta: Any) -> tuple[Any, Any, Any]:
        normalised: tuple[Any, Any, Any] = self._with_gradient(inputs, gamma, beta)
        return normalised

    @property
    def _with_gradient(self) -> Any:
        """The normalisation with its gradient, written out because TensorFlow's operation treats a given mean as a constant."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def normalise(inputs: Any, gamma: Any, beta: Any) -> Any:
            count, mean, variance = self._moments(inputs)
            outputs, *_ = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, mean, variance, epsilon=self.epsilon, is_training=False)

            def gradient(upstream: Any, *_: Any) -> tuple[Any, Any, Any]:
                """Ioffe & Szegedy, arXiv 1502.03167, section 3, with sums over all workers."""
                scale = tf.math.rsqrt(variance + self.epsilon)
                normalised = (tf.cast(inputs, tf.float32) - mean) * scale
                upstream = tf.cast(upstream, tf.float32)
                local_sums = [tf.reduce_sum(upstream, (0, 1, 2)), tf.reduce_sum(upstream * normalised, (0, 1, 2))]
                beta_sum, gamma_sum = self._group.sum(local_sums)
                input_gradient = gamma * scale * (upstream - (beta_sum + normalised * gamma_sum) / count)
                # the local sums: the training step sums the gradients of gamma and beta over all workers
                return tf.cast(input_gradient, inputs.dtype), local_sums[1], local_sums[0]

            return (outputs, mean, variance), gradient

        return normalise

    def _moments(self, inputs: Any) -> tuple[Any, Any, Any]:
        """Return the number of values per channel, their mean and their biased variance, over the complete batch.

        The variance combines the shards' variances and the distances between their means (Chan et al. 1979). The mean of squares minus the
        squared mean would lose significant digits. Shards may differ in size by one image.
        """
        mean, variance = tf.nn.moments(tf.cast(inputs, tf.float32), (0, 1, 2))
        count = tf.cast(tf.size(inputs) // tf.size(mean), tf.float32)
        row = tf.one_hot(self._group.shard.index, self._group.count)[:, None]
        counts, means, variances = self._group.sum([row * count, row * mean, row * variance])  # (workers, 1), (workers, C), (workers, C)
        total = tf.reduce_sum(counts)
        total_mean = tf.reduce_sum(counts * means, 0) / total
        return total, total_mean, tf.reduce_sum(counts * (variances + tf.square(means - total_mean)), 0) / total
