import numpy as np
import pytest

from detector.network.reorg import reorg


def darknet_loop(x, stride):
    """reorg_cpu with forward=0 (Darknet src/blas.c), index by index."""
    channels, height, width = x.shape
    out_channels = channels // stride**2
    flat, out = x.ravel(), np.empty(x.size, x.dtype)
    for k in range(channels):
        for j in range(height):
            for i in range(width):
                c2, offset = k % out_channels, k // out_channels
                w2, h2 = i * stride + offset % stride, j * stride + offset // stride
                out[i + width * (j + height * k)] = flat[w2 + width * stride * (h2 + height * stride * c2)]
    return out.reshape(channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize(("shape", "stride"), [((4, 2, 6), 2), ((8, 4, 4), 2), ((9, 3, 6), 3)])
def test_reorg_equals_the_darknet_loop(shape, stride):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(reorg(x[None], stride, "darknet")[0], darknet_loop(x, stride))


def test_space_to_depth_moves_each_window_into_channels():
    x = np.arange(2 * 4 * 6, dtype=np.float32).reshape(1, 2, 4, 6)
    y = reorg(x, 2, "space-to-depth")
    assert y.shape == (1, 8, 2, 3)
    for dy in range(2):
        for dx in range(2):
            for channel in range(2):
                np.testing.assert_array_equal(y[0, (dy * 2 + dx) * 2 + channel], x[0, channel, dy::2, dx::2])


def test_the_two_reorg_orders_differ():
    x = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
    assert not np.array_equal(reorg(x, 2, "darknet"), reorg(x, 2, "space-to-depth"))
