"""The memory for decoding and drawing images, divided into fixed shares.

Every slot of the admission queue has a share that suffices for a small image. Large images leave the queue and wait for one of a few
slots with larger shares. The sum therefore never exceeds the limit, and large images hardly delay small ones. Annotated images that become
large PNG files use these slots too, because encoding them takes seconds.
"""

from dataclasses import dataclass
from typing import Self

from detector.errors import ImageTooLarge
from detector.imaging.draw import drawn_size
from detector.imaging.encode import MediaType, encoded_type
from detector.imaging.formats.image_file import PEAK_BYTES_PER_PIXEL, ImageFile
from service.models.loader import available_memory
from service.settings import Settings

IMAGE_SHARE = 0.25  # Share of the process's memory for images that are being processed, if no limit is set.

MAX_THREAD_BYTES = 256 * 1024**2
"""Memory of an image that is processed in a thread. It suffices for about 20 megapixels, or 16 if boxes are drawn."""
MAX_THREAD_WORK = 64_000_000  # `ImageFile.work` of an image that is decoded in a thread. This takes about a quarter of a second.
MAX_THREAD_WEBP_PIXELS = 2_000_000
"""Pixels of a WebP that is decoded in a thread. Pillow's decoder holds the GIL all the time."""
MAX_THREAD_HUFFMAN_GROUPS = 6000
"""`ImageFile.huffman_groups` of a WebP that is decoded in a thread. Building their tables takes about a tenth of a second."""

MAX_THREAD_PNG_PIXELS = 2_500_000  # Drawn pixels of a PNG that is encoded in a slot for small images. This takes up to 0.3 seconds.

PROCESS_BYTES = 64 * 1024**2  # Memory of a child process that decodes a heavy image, in addition to the image.
PILLOW_BYTES = 4  # Memory of a pixel of a decoded image.
DRAWING_BYTES = 12  # Memory of a drawn pixel: the copy that is drawn on, the encoded file, and its encoder.


@dataclass(frozen=True)
class ImageMemory:
    """Shares of the memory for images that are being processed."""

    small_bytes: int  # of each slot of the admission queue
    large_bytes: int  # of each slot for large images
    large_slots: int

    @classmethod
    def divide(cls, limit: int, *, slots: int, cores: int, largest: int) -> Self:
        """Divide `limit` bytes. Large images get at most half of the cores.

        Args:
            limit: Bytes of all images together.
            slots: Slots of the admission queue.
            cores: Cores of the service.
            largest: Bytes that the largest allowed image needs.
        """
        small = min(MAX_THREAD_BYTES, limit // (2 * slots))
        rest = limit - slots * small
        large_slots = max(1, min(cores // 2, rest // largest))
        return cls(small, rest // large_slots, large_slots)

    @classmethod
    def of(cls, settings: Settings, *, slots: int, cores: int, all_cores: int) -> Self:
        """Divide the limit of the settings. By default it is proportional to the cores that this process uses of `all_cores`."""
        default = int(IMAGE_SHARE * available_memory() * min(1.0, cores / all_cores))
        largest = max(PEAK_BYTES_PER_PIXEL.values()) * settings.max_pixels + 2 * settings.max_body_bytes + PROCESS_BYTES
        return cls.divide(settings.max_image_bytes or default, slots=slots, cores=cores, largest=largest)

    def is_small(self, file: ImageFile, needed: int, draw: MediaType | None = None) -> bool:
        """Return whether a slot of the admission queue suffices for an image that needs `needed` bytes and is drawn as `draw`."""
        return needed <= self.small_bytes and not is_heavy(file, needed) and not (draw and _is_large_png(file, draw))

    def check_large(self, file: ImageFile, needed: int) -> None:
        """Raise ImageTooLarge if the image does not fit into the share of a large image."""
        needed += PROCESS_BYTES if is_heavy(file, needed) else 0
        if needed > self.large_bytes:
            raise ImageTooLarge(
                f"processing the image needs about {_mib(needed)} MiB of memory, and this service allows {_mib(self.large_bytes)}. "
                "Send a smaller copy, or raise BOXWRIGHT_MAX_IMAGE_BYTES."
            )


def _is_large_png(file: ImageFile, draw: MediaType) -> bool:
    size = drawn_size(*file.size)
    return size[0] * size[1] > MAX_THREAD_PNG_PIXELS and encoded_type(size, draw) == "image/png"


def is_heavy(file: ImageFile, needed: int) -> bool:
    """Return whether an image that needs this number of bytes is decoded in a separate process (`decoder_process`)."""
    pixels = file.size[0] * file.size[1]
    if needed > MAX_THREAD_BYTES or file.work > MAX_THREAD_WORK:
        return True
    return file.format == "WebP" and (pixels > MAX_THREAD_WEBP_PIXELS or file.huffman_groups > MAX_THREAD_HUFFMAN_GROUPS)


def needed_bytes(file: ImageFile, min_side: int | None, *, draw: bool) -> int:
    """Return an upper bound of the memory that decoding an image takes, and drawing on it if `draw`. See `ImageFile.peak_bytes`.

    Args:
        file: The headers.
        min_side: See `decode_image`.
        draw: Whether the image is also drawn on, at the size that `drawn_size` returns.
    """
    decoding = file.peak_bytes(min_side)
    if not draw:
        return decoding
    width, height = drawn_size(*file.size)
    decoded_width, decoded_height = file.decoded_size(min(width, height))
    drawing = PILLOW_BYTES * decoded_width * decoded_height + DRAWING_BYTES * width * height
    return max(decoding, file.peak_bytes(min(width, height)), drawing)


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f}"
