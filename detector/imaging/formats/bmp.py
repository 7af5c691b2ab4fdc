"""BMP: the Windows and OS/2 headers."""

import struct

from detector.errors import NotAnImage
from detector.imaging.formats.image_file import ImageFile


def parse_bmp(data: bytes) -> ImageFile:
    """Read the size. Run-length encoding is refused, because Pillow decodes it in slow Python code."""
    if data[14] == 12:  # OS/2 header
        width, height = struct.unpack_from("<HH", data, 18)
        return ImageFile("BMP", data, (width, height), 4 * width * height)
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):
        raise NotAnImage("the BMP is run-length encoded, which is not supported. Save it as PNG.")
    height = abs(height)  # a negative height means rows from the top
    return ImageFile("BMP", data, (width, height), 4 * abs(width) * height)
