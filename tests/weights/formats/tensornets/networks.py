"""Networks of tensornets with random weights, and random images."""

from dataclasses import replace

import numpy as np
from PIL import Image

from weights.hub.catalogue import entry_of, spec_of

VOC = spec_of(entry_of("tensornets-yolov2-voc"))
TINY_VOC = spec_of(entry_of("tensornets-tiny-yolov2-voc"))
BACKBONE = replace(spec_of(entry_of("tensornets-darknet19")), input_size=64)


def make_labels(count):
    return tuple(f"class {number}" for number in range(count))


def random_images(size, count=2):
    """Return images of coarse patches, so that neighbouring cells differ."""
    coarse = np.random.default_rng(5).integers(0, 256, (count, 13, 13, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC)) for patches in coarse])


def with_confident_outputs(arrays, size_bias):
    """Return the arrays with a last layer that outputs dozens of boxes. size_bias: logarithm of their size relative to the anchors."""
    kernel = arrays["linear/kernel"].reshape(1, 1, 1024, 5, 25) * np.repeat([0.3, 0.1, 1], [2, 2, 21])  # x y, w h, objectness and classes
    bias = np.zeros((5, 25))
    bias[:, 2:4], bias[:, 4] = size_bias, -6
    return arrays | {"linear/kernel": np.float32(kernel.reshape(1, 1, 1024, 125)), "linear/bias": np.float32(bias.reshape(125))}


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float32
    assert np.abs(actual).max() > 1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)
