"""Alpha dropout of whole channels, as spatial dropout is of dropout: neighbours in a channel are alike."""

from typing import Any

import keras


class SpatialAlphaDropout(keras.layers.AlphaDropout):  # type: ignore[misc]
    """Keras's alpha dropout, which keeps mean and variance (arXiv 1706.02515), for (N, H, W, C): a channel is dropped or is not."""

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(rate, noise_shape=(None, 1, 1, None), **options)
