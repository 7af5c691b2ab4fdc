"""Dropout of whole channels after SELU, and dropout on one worker's shard of a batch."""

from typing import Any

import keras
import tensorflow as tf

from training.distributed.process_group import Shard


class SpatialAlphaDropout(keras.layers.AlphaDropout):  # type: ignore[misc]
    """Alpha dropout, which keeps mean and variance (arXiv 1706.02515), of whole channels of (N, H, W, C)."""

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(rate, noise_shape=(None, 1, 1, None), **options)


def shard_dropout(kind: type, shard: Shard, batch_size: int) -> type:
    """Return a dropout layer class for one worker's shard that drops what `kind` would drop of these images in the complete batch.

    Every worker draws the same noise for the complete batch from the same seed, and uses its part.

    Args:
        kind: A Keras dropout layer class.
        shard: The worker's part of each batch.
        batch_size: Images of the complete batch.
    """
    positions = shard.of(batch_size)

    class ShardDropout(kind):  # type: ignore[misc]
        """Dropout on one worker's images."""

        def call(self, inputs: Any, training: bool = False) -> Any:
            """Apply dropout to the worker's images (n, ...)."""
            if not training:
                return inputs
            batch = tf.pad(inputs, [[positions.start, batch_size - positions.stop], *[[0, 0]] * (len(inputs.shape) - 1)])
            return super().call(batch, training=True)[positions.start : positions.stop]

    return ShardDropout
