"""An image file with its headers, and the limits that every format shares."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

ACCEPTED_FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF or MPO"
MAX_CHUNKS = 100_000  # Segments, chunks, extensions or strips of one file. Real images have at most a few thousand.
FREE_CHUNKS, BYTES_PER_CHUNK = 5000, 1024  # see `max_chunks`

SWAPPED_SIDES = frozenset((5, 6, 7, 8))  # EXIF orientations that swap width and height.

ImageFormat = Literal["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"]

PEAK_BYTES_PER_PIXEL: dict[ImageFormat, int] = {"JPEG": 12, "PNG": 13, "WebP": 21, "GIF": 13, "BMP": 10, "TIFF": 16}
"""Peak memory of decoding to an upright RGB image, per decoded pixel, measured with transparency and rotation."""

JPEG_SCALES = (8, 4, 2, 1)  # Divisors of the size at which libjpeg decodes, as Pillow's `draft` uses it.


def max_chunks(data: bytes) -> int:
    """Return the maximum number of segments or chunks of a JPEG, PNG or WebP file.

    Python code of ours and of Pillow reads each of them. Encoders write pixels in chunks of at least 8 KiB.
    """
    return min(MAX_CHUNKS, FREE_CHUNKS + len(data) // BYTES_PER_CHUNK)


@dataclass(frozen=True)
class ImageFile:
    """An image file before it is decoded."""

    format: ImageFormat
    image_bytes: bytes  # for the decoder, without the metadata that it could read
    size: tuple[int, int]  # width, height as claimed, before the EXIF rotation; possibly wrong
    work: int  # bytes of pixel data that the decoder writes, over all passes, tiles and frames; an upper bound
    orientation: int = 1  # EXIF: 1 upright, 2..8 rotated or mirrored
    endings: tuple[bytes, ...] = ()
    """Alternative last bytes of a JPEG without an end marker. The file is complete if the pixels are equal with each of them."""
    received_bytes: int = 0  # size of the file, with metadata
    coefficient_bytes: int = 0  # memory for the coefficients of a JPEG with several scans, at every scale
    huffman_groups: int = 0  # upper bound for a lossless WebP; each group has tables of 5 to 20 kB

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after the EXIF rotation."""
        return self.size[::-1] if self.orientation in SWAPPED_SIDES else self.size

    def decoded_size(self, min_side: int | None) -> tuple[int, int]:
        """Return width and height after decoding, before the EXIF rotation; see `decode_image` for `min_side`."""
        if self.format != "JPEG" or min_side is None:
            return self.size
        divisor = next(scale for scale in JPEG_SCALES if scale == 1 or min(self.size) // min_side >= scale)
        return ceil(self.size[0] / divisor), ceil(self.size[1] / divisor)

    def peak_bytes(self, min_side: int | None = None) -> int:
        """Return an upper bound of the memory that decoding needs in addition to the file, for admission control.

        It excludes the tables of `huffman_groups`. The service decodes files with many groups in a process with a memory limit.
        """
        width, height = self.decoded_size(min_side)
        return width * height * PEAK_BYTES_PER_PIXEL[self.format] + self.coefficient_bytes + 2 * len(self.image_bytes)
