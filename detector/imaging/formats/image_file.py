"""An image file whose headers have been read, and the limits that every format shares."""

from dataclasses import dataclass
from typing import Literal

ACCEPTED_FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF or MPO"
MAX_CHUNKS = 100_000
"""Segments, chunks, extensions or strips of one file. Real images have at most a few thousand."""

ImageFormat = Literal["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"]

PEAK_BYTES_PER_PIXEL: dict[ImageFormat, int] = {"JPEG": 14, "PNG": 13, "WebP": 21, "GIF": 13, "BMP": 9, "TIFF": 16}
"""Peak memory of decoding to an upright RGB image at full scale, measured with transparency, rotation and progressive scans."""


@dataclass(frozen=True)
class ImageFile:
    """An image file before it is decoded."""

    format: ImageFormat
    image_bytes: bytes  # for the decoder: without metadata, further images, and other parts that the pixels do not need
    size: tuple[int, int]  # width, height as claimed, before the EXIF rotation; possibly wrong
    work: int  # bytes of pixel data that the decoder writes, over all passes, tiles and frames; an upper bound
    orientation: int = 1  # EXIF: 1 upright, 2..8 rotated or mirrored
    endings: tuple[bytes, ...] = ()
    """Alternative last bytes of a JPEG without an end marker. The file is complete if the pixels are equal with each of them."""

    @property
    def peak_bytes(self) -> int:
        """Upper bound of the memory that decoding needs in addition to the file, for admission control."""
        return self.size[0] * self.size[1] * PEAK_BYTES_PER_PIXEL[self.format] + 2 * len(self.image_bytes)
