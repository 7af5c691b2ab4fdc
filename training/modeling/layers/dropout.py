"""Dropout of whole channels after SELU, and dropout on one worker's shard of a batch."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from detector.network.layers import Conv
from training.config.options import Config
from training.distributed.process_group import ProcessGroup, Shard


class SpatialAlphaDropout(keras.layers.AlphaDropout):  # type: ignore[misc]
    """Alpha dropout of whole channels of (N, H, W, C). It keeps mean and variance (arXiv 1706.02515)."""

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(rate, noise_shape=(None, 1, 1, None), **options)


def shard_dropout(kind: type, shard: Shard, batch_size: int) -> type:
    """Return a dropout layer class for one worker's shard. It drops the values that `kind` drops for these images in the complete batch.

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


def dropout_layers(layers: Sequence[Conv], config: Config, group: ProcessGroup) -> dict[str, Any]:
    """Return the dropout after each of these convolutions, by layer.

    Whole channels are dropped, because neighbours in a channel are similar (arXiv 1411.4280). After SELU, alpha dropout keeps mean and
    variance (arXiv 1706.02515).
    """
    if not config.dropout:
        return {}
    return {layer.name: _dropout(layer, config, index, group) for index, layer in enumerate(layers)}


def _dropout(layer: Conv, config: Config, index: int, group: ProcessGroup) -> Any:
    kind = SpatialAlphaDropout if layer.activation == "selu" else keras.layers.SpatialDropout2D
    if group.count > 1:
        kind = shard_dropout(kind, group.shard, config.batch_size)
    return kind(config.dropout, seed=config.seed + index, name=f"{layer.name}_dropout")
