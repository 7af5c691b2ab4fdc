"""The passthrough's rearrangement, in the two orders that weights were trained with.

Darknet's is not space-to-depth, not even up to a permutation of channels: it mixes positions. So the order belongs to the weights.
"""

import numpy as np
from numpy.typing import NDArray

from detector.network import ReorgOrder


def reorg(x: NDArray[np.float32], stride: int, order: ReorgOrder) -> NDArray[np.float32]:
    """(N, C, H, W) -> (N, stride² C, H / stride, W / stride): the definition that the Keras and ONNX builders follow.

    "space-to-depth": output channel (dy * stride + dx) * C + c holds pixel (dy, dx) of each stride x stride window of channel c
    (ONNX SpaceToDepth; tf.nn.space_to_depth).
    "darknet": the memory is read as if it were (C / stride², H * stride, W * stride), and that is taken apart likewise
    (Darknet src/blas.c, reorg_cpu with forward=0).
    """
    n, c, h, w = x.shape
    if order == "darknet":
        windows = x.reshape(n, c // stride**2, h, stride, w, stride)
    else:
        windows = x.reshape(n, c, h // stride, stride, w // stride, stride)
    return windows.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * stride**2, h // stride, w // stride)
