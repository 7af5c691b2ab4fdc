"""The passthrough's reorg in the two channel orders that trained weights require.

Darknet's reorg is not space-to-depth, not even up to a permutation of channels: it mixes positions.
Trained weights therefore work with only one order.
"""

import numpy as np
from numpy.typing import NDArray

from detector.network.layers import ReorgOrder


def reorg(x: NDArray[np.float32], stride: int, order: ReorgOrder) -> NDArray[np.float32]:
    """(N, C, H, W) -> (N, stride² C, H / stride, W / stride): the reference that the Keras and ONNX builders follow.

    Args:
        x: (N, C, H, W).
        stride: Side of the windows.
        order: "space-to-depth": output channel (dy * stride + dx) * C + c holds pixel (dy, dx) of each stride x stride window of
            channel c (ONNX SpaceToDepth; tf.nn.space_to_depth). "darknet": the memory is interpreted as
            (C / stride², H * stride, W * stride) and split into windows in the same way (Darknet src/blas.c, reorg_cpu, forward=0).
    """
    n, c, h, w = x.shape
    if order == "darknet":
        windows = x.reshape(n, c // stride**2, h, stride, w, stride)
    else:
        windows = x.reshape(n, c, h // stride, stride, w // stride, stride)
    return windows.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * stride**2, h // stride, w // stride)
