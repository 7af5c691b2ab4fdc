"""Decode untrusted image files into upright RGB images. `image_files` reads the headers and bounds the work first."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from detector.errors import DamagedImage, EmptyImage, ImageTooLarge, NotAnImage, SettingError
from detector.imaging.formats.image_file import ACCEPTED_FORMATS, ImageFile, ImageFormat
from detector.imaging.formats.jpeg import alternative_end
from detector.imaging.image_files import open_image_file
from detector.messages import count_of

MAX_PIXELS = 64_000_000
PILLOW_MAX_PIXELS = 89_478_485  # Pillow refuses or warns above this
MAX_SIDE = 65_535  # limit of JPEG and GIF; longer images are mostly attacks on the decoder
MAX_FILE_BYTES = 2**28  # an uncompressed image with MAX_PIXELS pixels of four bytes fits
MAX_DECODE_WORK = 12 * MAX_PIXELS
"""Maximum bytes of pixel data that a decoder may write, over all passes, tiles and frames. Measured: at most about 3 s of CPU time."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image that may have been decoded at 1/2, 1/4 or 1/8 of its size, as a Pillow image."""

    pillow_image: Image.Image  # upright, RGB
    width: int  # of the full-size image, upright
    height: int

    @property
    def is_full_size(self) -> bool:
        """Whether the image was decoded at full scale."""
        return self.pillow_image.size == (self.width, self.height)

    @property
    def array(self) -> NDArray[np.uint8]:
        """(h, w, 3) RGB, 0..255, read-only. Each access makes a copy, because Pillow stores four bytes per pixel."""
        return np.asarray(self.pillow_image)


def read_image_bytes(path: Path) -> bytes:
    """Return the content of an image file. Raises ImageTooLarge if it has more than MAX_FILE_BYTES, OSError if it cannot be read."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ImageTooLarge(f"the image file has {count_of(size, 'byte')}. The limit is {MAX_FILE_BYTES:,}.")
    return path.read_bytes()


def read_image(image_bytes: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image file.

    The formats are JPEG and MPO (first image), PNG, WebP and GIF (first frame), BMP and TIFF (first page). The EXIF orientation is
    applied. Transparent pixels are blended with white. 16-bit values keep their upper 8 bits. Colour profiles are ignored.

    Args:
        image_bytes: The content of the file.
        max_pixels: Refuse larger images, 1 to PILLOW_MAX_PIXELS.

    Returns:
        (H, W, 3) uint8 RGB, read-only.

    Raises:
        EmptyImage: The file has no bytes.
        NotAnImage: The format is not supported.
        DamagedImage: The file is truncated or corrupt.
        ImageTooLarge: The headers claim more than `max_pixels`, a side above MAX_SIDE, or more work than MAX_DECODE_WORK.
        SettingError: `max_pixels` is out of range.
    """
    return decode_image(image_bytes, None, max_pixels=max_pixels).array


def decode_image(image_bytes: bytes, min_side: int | None = None, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode an image file as `read_image` does, a JPEG possibly at reduced scale.

    At reduced scale, libjpeg skips the high frequencies of its blocks. That is fast, and as good as averaging pixels.

    Args:
        image_bytes: The content of the file.
        min_side: Minimum length in pixels of each side of a JPEG decoded at reduced scale. None decodes at full scale.
        max_pixels: Refuse images that are larger at full size.
    """
    return decode_file(read_headers(image_bytes, max_pixels=max_pixels), min_side)


def read_headers(image_bytes: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Read the headers of an image file, and check all limits, without decoding pixels. See `read_image` for the errors."""
    if not 1 <= max_pixels <= PILLOW_MAX_PIXELS:
        raise SettingError(f"max_pixels must be 1 to {PILLOW_MAX_PIXELS:,}, got {max_pixels:,}.")
    if not image_bytes:
        raise EmptyImage(f"the image is empty: it has no bytes. Send a {ACCEPTED_FORMATS}.")
    file = replace(open_image_file(image_bytes), received_bytes=len(image_bytes))
    _check_limits(file, max_pixels)
    return file


def decode_file(file: ImageFile, min_side: int | None = None) -> DecodedImage:
    """Decode a file after `read_headers`. See `decode_image` for `min_side`. Raises NotAnImage, DamagedImage."""
    try:
        decoded = _decode(file, min_side)
        _check_mode(decoded)
        image = _upright(to_rgb(decoded), file.orientation)
    except _PILLOW_ERRORS as error:
        if str(error) == "unknown pixel mode":  # Pillow does not know this combination of bits, samples and byte order of a TIFF
            raise NotAnImage(f"the {file.format} has pixels of an unsupported kind. Save it as 8-bit RGB.") from error
        raise DamagedImage(
            f"the {file.format} is truncated or corrupt ({error}); received: {count_of(file.received_bytes, 'byte')}. Send the whole file."
        ) from error
    return DecodedImage(image, *file.upright_size)


_PILLOW_ERRORS = (OSError, SyntaxError, ValueError)  # all errors that 800,000 mutated files caused


def _check_limits(file: ImageFile, max_pixels: int) -> None:
    width, height = file.size
    claim = f"the {file.format} claims {width:,} x {height:,} pixels"
    if min(width, height) < 1:
        raise DamagedImage(f"{claim}. Send the whole file.")
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLarge(f"{claim}; the limit is {max_pixels:,} in total and {MAX_SIDE:,} per side. Send a smaller copy.")
    if file.work > MAX_DECODE_WORK:
        raise ImageTooLarge(f"{claim}, and decoding it needs too many passes. Save it as a baseline JPEG or PNG.")


_DECODERS: dict[ImageFormat, Callable[[BytesIO], Image.Image]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}


def _decode(file: ImageFile, min_side: int | None) -> Image.Image:
    """Decode a file, and check that a JPEG is complete: libjpeg silently fills missing pixels with a flat colour."""
    if file.endings:
        image, *others = (_load(replace(file, image_bytes=file.image_bytes + ending), min_side) for ending in file.endings)
        if not all(_equal_pixels(image, other) for other in others):
            raise OSError("truncated: pixels are missing at the end")
        return image
    image = _load(file, min_side)
    if file.format == "JPEG" and _may_lack_pixels(image, file.size[1]):
        filled = replace(file, image_bytes=alternative_end(file.image_bytes))
        # Compare at the smallest scale, which is decoded fastest. With several scans, all scales take about the same time.
        pair = (image, _load(filled, min_side)) if file.coefficient_bytes else (_load(file, 1), _load(filled, 1))
        if not _equal_pixels(*pair):
            raise OSError("truncated: pixels are missing before the end marker")
    return image


def _load(file: ImageFile, min_side: int | None) -> Image.Image:
    image = _DECODERS[file.format](BytesIO(file.image_bytes))
    if image.size != file.size:
        raise DamagedImage(f"the {file.format} claims two sizes, {file.size} and {image.size} pixels. Send the whole file.")
    if image.mode == "P" and image.palette is None:
        raise DamagedImage(f"the {file.format} has no palette, although its pixels are palette indices. Send the whole file.")
    if min_side is not None:
        image.draft(None, (min_side, min_side))  # has an effect on JPEG only
    image.load()
    return image


def _may_lack_pixels(image: Image.Image, full_height: int) -> bool:
    """Return whether the end of a JPEG looks like that of a truncated file: its last blocks have a single colour.

    Uniform backgrounds, most of them black or white, look the same. Therefore a black or white corner counts only if its whole row of
    blocks has a single colour.
    """
    width, height = image.size
    block = max(1, 8 * height // full_height)  # side at the decoded scale
    # The first row and column of a block may mix with its neighbours when chroma is upsampled.
    left, top = (min((side - 1) // block * block + 1, side - 1) for side in (width, height))
    corner = image.crop((left, top, width, height))
    if corner.getcolors(1) is None:
        return False
    extremes = {value for low_high in np.atleast_2d(corner.getextrema()).tolist() for value in low_high}
    return bool(extremes - {0, 255}) or image.crop((0, top, width, height)).getcolors(1) is not None


def _equal_pixels(first: Image.Image, second: Image.Image) -> bool:
    bands = ((0, top, first.width, min(top + _BAND_ROWS, first.height)) for top in range(0, first.height, _BAND_ROWS))
    return all(first.crop(band).tobytes() == second.crop(band).tobytes() for band in bands)


_BAND_ROWS = 256  # rows compared at a time, to avoid copies of a whole image


def _check_mode(image: Image.Image) -> None:
    known = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
    if image.mode not in known and not image.mode.startswith("I;16"):
        raise NotAnImage(f"the {image.format} has pixels of an unsupported kind (Pillow's mode {image.mode}). Save it as 8-bit RGB.")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a Pillow image to RGB as `read_image` does: blend it with white, and keep the upper 8 of 16 bits."""
    if image.mode.startswith("I;16"):
        image = _upper_bits(image)
    if image.has_transparency_data:
        image = _blend_with_white(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _upper_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> 8-bit grey. Pillow's own conversion clips at 255 instead."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _blend_with_white(image: Image.Image) -> Image.Image:
    """RGBA -> RGB. Opaque pixels do not change."""
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    transpose = _TRANSPOSE.get(orientation)
    return image if transpose is None else image.transpose(transpose)
