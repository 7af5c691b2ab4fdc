"""A picture as a file's bytes: JPEG or PNG."""

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image

from detector.placement import ImageArray

MediaType = Literal["image/jpeg", "image/png"]

JPEG_QUALITY = 90
JPEG_LONGEST_SIDE = 65500
"""Pixels; more does not go into a JPEG (libjpeg's JPEG_MAX_DIMENSION)."""


@dataclass(frozen=True)
class EncodedPhoto:
    """A file's bytes and what they are."""

    media_type: MediaType
    data: bytes


def encode(picture: ImageArray, wanted: MediaType = "image/jpeg") -> EncodedPhoto:
    """(H, W, 3) uint8 RGB -> a file of the type wanted; a picture too long for a JPEG is a PNG all the same."""
    file = BytesIO()
    if wanted == "image/png" or max(picture.shape) > JPEG_LONGEST_SIDE:
        Image.fromarray(picture).save(file, "PNG", compress_level=3)  # a third of the default's time for some per cent more bytes
        return EncodedPhoto("image/png", file.getvalue())
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    return EncodedPhoto("image/jpeg", file.getvalue())
