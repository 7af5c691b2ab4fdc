"""Boxes of images with an EXIF orientation that is not upright."""

import io

import numpy as np
import pytest
from PIL import Image

from detector.errors import NotAnImage
from detector.imaging.image import read_image
from training.data.exif_orientation import ExifFrame


def rotated_image_file(box, orientation, size=(48, 32)):
    """Encode a black image with a white box, in stored coordinates."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_rotated_like_the_pixels(orientation):
    box = (3, 5, 20, 11)
    data = rotated_image_file(box, orientation)
    frame, upright = ExifFrame.of(data), read_image(data)
    assert frame.orientation == orientation
    assert frame.upright == (upright.shape[1], upright.shape[0])
    rows, columns = np.nonzero(upright[..., 0])
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_array_equal(frame.to_upright(np.array([box], np.float32)), [expected])


def test_invalid_orientations_are_upright():
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    for orientation in (0, 1, 9, 65535):
        frame = ExifFrame((48, 32), orientation)
        assert not frame.is_rotated
        np.testing.assert_array_equal(frame.to_upright(boxes), boxes)


def test_an_empty_array_of_boxes_stays_empty():
    assert ExifFrame((48, 32), 6).to_upright(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_file_that_is_not_an_image_is_refused():
    with pytest.raises(NotAnImage):
        ExifFrame.of(b"not an image")
