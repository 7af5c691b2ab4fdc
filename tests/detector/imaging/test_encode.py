"""Encoding of annotated images as JPEG and PNG."""

import io

import numpy as np
import pytest
from PIL import Image

from detector.imaging.encode import MAX_JPEG_SIDE, encode_image


def decoded(encoded):
    return Image.open(io.BytesIO(encoded.data))


def test_a_png_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    encoded = encode_image(image, "image/png")
    assert encoded.media_type == "image/png"
    np.testing.assert_array_equal(np.asarray(decoded(encoded)), image)


def test_a_jpeg_is_close_to_the_image():
    image = np.asarray(Image.linear_gradient("L").convert("RGB"))
    encoded = encode_image(image)
    assert encoded.media_type == "image/jpeg"
    assert decoded(encoded).format == "JPEG"
    assert np.abs(np.asarray(decoded(encoded)).astype(int) - image).max() <= 3


@pytest.mark.parametrize(("side", "media_type"), [(MAX_JPEG_SIDE, "image/jpeg"), (MAX_JPEG_SIDE + 1, "image/png")])
def test_an_image_too_long_for_jpeg_becomes_a_png(side, media_type):
    encoded = encode_image(np.zeros((1, side, 3), np.uint8))
    assert encoded.media_type == media_type
    assert decoded(encoded).size == (side, 1)
