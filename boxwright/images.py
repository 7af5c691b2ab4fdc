"""The kinds of images that `detect` accepts, and their conversion."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from detector.errors import ImageError, NotAnImage
from detector.imaging.encode import encode_image
from detector.imaging.image import to_rgb

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[np.uint8]
"""A path, the bytes of an image file, a binary file object, a PIL image, or a (H, W, 3) uint8 RGB array."""
ImageList: TypeAlias = list[Any] | tuple[Any, ...]
"""Several sources. `list[ImageSource]` would not accept a `list[Path]`, because lists are invariant."""

_MODES_WITHOUT_RANGE = ("I", "F", "La")  # Pillow clips their values at 255, or cannot convert them


@contextmanager
def name_file_in_errors(source: ImageSource) -> Iterator[None]:
    """Put the path of the image file, if there is one, before the message of an ImageError."""
    try:
        yield
    except ImageError as error:
        if not isinstance(source, str | os.PathLike):
            raise
        raise type(error)(f"{os.fspath(source)}: {error}") from error


def to_bytes_or_array(source: ImageSource) -> bytes | NDArray[np.uint8]:
    """Return the bytes of an image file, or a (H, W, 3) uint8 RGB array if the source is decoded already.

    Raises OSError if the file cannot be read, and NotAnImage if the source has another type or shape.
    """
    match source:
        case str() if source.startswith(("http://", "https://")):
            raise NotAnImage(f"{source[:80]} is a URL, and URLs are not downloaded. Give the bytes of the image file.")
        case str() if source.startswith("data:"):
            raise NotAnImage("this is a data URL. Give the bytes of the image file: base64.b64decode(url.partition(',')[2]).")
        case str() | os.PathLike():
            return Path(source).read_bytes()
        case bytes() | bytearray() | memoryview():
            return bytes(source)
        case Image.Image():
            if source.mode in _MODES_WITHOUT_RANGE or not all(source.size):
                raise NotAnImage(
                    f"a PIL image must have pixels of 8 or 16 bits, got mode {source.mode} with {source.width} x {source.height} pixels. "
                    "Scale its values to 0..255, and convert it to RGB."
                )
            return np.asarray(to_rgb(ImageOps.exif_transpose(source)))
        case np.ndarray():
            if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
                raise NotAnImage(f"an array must be (height, width, 3) uint8 RGB, got {source.shape} {source.dtype}.")
            return source
    if not hasattr(source, "read"):
        raise NotAnImage(f"an image is a path, bytes, a binary file, a PIL image or an array, got {type(source).__name__}.")
    content = source.read()
    if not isinstance(content, bytes):
        raise NotAnImage("the file is open in text mode. Open it in binary mode: open(path, 'rb').")
    return content


def to_bytes(source: ImageSource) -> bytes:
    """Return the bytes of an image file; a decoded image becomes a PNG file. Raises as `to_bytes_or_array` does."""
    content = to_bytes_or_array(source)
    return content if isinstance(content, bytes) else encode_image(content, "image/png").data
