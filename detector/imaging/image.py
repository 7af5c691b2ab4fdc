"""Strangers' bytes -> an upright (H, W, 3) uint8 RGB array. What the files say is read in `image_files`; here is what their pixels mean."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

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
from detector.imaging.image_files import WANTED, Format, Photo, open_photo

MAX_PIXELS = 64_000_000
PILLOW_PIXELS = 89_478_485  # beyond these Pillow has its own say
MAX_SIDE = 65_535  # what JPEG and GIF can state; longer strips only serve to exhaust a decoder


@dataclass(frozen=True, eq=False)
class Reduced:
    """A photo that may have been decoded at a half, a quarter or an eighth of its size, as Pillow has it."""

    image: Image.Image  # upright, RGB
    width: int  # of the whole photo, upright
    height: int

    @property
    def whole(self) -> bool:
        """Whether it was decoded at its own size."""
        return self.image.size == (self.width, self.height)

    @property
    def picture(self) -> NDArray[np.uint8]:
        """(h, w, 3) RGB, 0..255, read-only: a copy each time, as Pillow has four bytes a pixel."""
        return np.asarray(self.image)


def read_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A photo as (H, W, 3) uint8 RGB, 0..255, read-only.

    Reads JPEG (of an MPO, the first picture), PNG, WebP and GIF (the first frame), BMP and TIFF (the first page). The picture is
    upright, as its EXIF orientation says. Transparency is shown on white. Of 16 bits the upper 8 are kept. Colour profiles
    are not applied.

    Raises EmptyImage, NotAnImage, DamagedImage; ImageTooLarge where the header claims more than `max_pixels` pixels or a
    side above 65,535, before anything is decoded; SettingError where `max_pixels` is not 1 to 89,478,485.
    """
    return read_reduced(data, None, max_pixels=max_pixels).picture


def read_reduced(data: bytes, enough: int | None, *, max_pixels: int = MAX_PIXELS) -> Reduced:
    """As `read_image`, but a JPEG is decoded at a reduced scale as long as both its sides keep at least `enough` pixels.

    libjpeg leaves out the high frequencies of its blocks, which is quick and as good as averaging. None: at full scale.
    """
    if not 1 <= max_pixels <= PILLOW_PIXELS:
        raise SettingError(f"max_pixels must be 1 to {PILLOW_PIXELS:,}, got {max_pixels:,}.")
    if not data:
        raise EmptyImage(f"the image is empty: it has no bytes. Send a {WANTED}.")
    photo = open_photo(data)
    _check_size(photo, max_pixels)
    try:
        image = _upright(_rgb(_decode(photo, enough)), photo.orientation)
    except _PILLOW_ERRORS as error:
        raise DamagedImage(
            f"the {photo.format} is cut short or corrupt ({error}); {len(data):,} bytes came. Send the whole file."
        ) from error
    width, height = photo.size if photo.orientation not in _LYING else photo.size[::-1]
    return Reduced(image, width, height)


_PILLOW_ERRORS = (OSError, SyntaxError, ValueError)  # all that 800,000 mutated files brought forth


def _check_size(photo: Photo, max_pixels: int) -> None:
    width, height = photo.size
    claim = f"the {photo.format} claims {width:,} x {height:,} pixels"
    if min(width, height) < 1:
        raise DamagedImage(f"{claim}. Send the whole file.")
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLarge(f"{claim}; at most {max_pixels:,} in all and {MAX_SIDE:,} along a side are read. Send a smaller copy.")


_DECODERS: dict[Format, Callable[[BytesIO], Image.Image]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}


def _decode(photo: Photo, enough: int | None) -> Image.Image:
    image = _DECODERS[photo.format](BytesIO(photo.data))
    if image.size != photo.size:
        raise DamagedImage(f"the {photo.format} claims two sizes, {photo.size} and {image.size} pixels. Send the whole file.")
    if image.mode == "P" and image.palette is None:
        raise DamagedImage(f"the {photo.format} has no palette, which its pixels refer to. Send the whole file.")
    if enough is not None:
        image.draft(None, (enough, enough))  # nothing but JPEG has such a thing
    image.load()
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _upper_bits(image)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"):
        raise NotAnImage(f"the {image.format} holds numbers that no photo has (Pillow's mode {image.mode}). Save it as 8-bit RGB.")
    if image.has_transparency_data:
        image = _on_white(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _upper_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> 8-bit grey (Pillow's own conversion would cut at 255)."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    """RGBA -> RGB. What is opaque stays as it is."""
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_LYING = frozenset((5, 6, 7, 8))  # orientations whose sides change places


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
