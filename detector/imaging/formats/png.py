"""PNG: header, palette, transparency and pixels (W3C PNG, section 11)."""

import struct

from detector.errors import DamagedImage
from detector.imaging.formats.exif import read_orientation
from detector.imaging.formats.image_file import ImageFile, max_chunks

_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def parse_png(data: bytes) -> ImageFile:
    """Read the headers of a PNG, and drop texts, colour profiles and the frames of an animation."""
    parts: list[bytes | memoryview] = [data[:8]]
    if data[12:16] != b"IHDR" and len(data) >= 16:
        raise DamagedImage("the PNG is corrupt: its first chunk is not its header (IHDR). Save it again.")
    width, height, depth, colour_type = struct.unpack_from(">IIBB", data, 16)
    orientation: int | None = None
    position = 8
    for _ in range(max_chunks(data)):
        if position >= len(data):
            break
        kind, end = data[position + 4 : position + 8], position + 12 + int.from_bytes(data[position : position + 4])
        if kind in _KEPT:
            parts.append(memoryview(data)[position:end])
        if kind == b"eXIf" and orientation is None:
            orientation = read_orientation(data[position + 8 : end - 4])
        position = end
    else:
        raise DamagedImage(f"the PNG has more than {max_chunks(data):,} chunks. Save it again.")
    work = width * height * _CHANNELS.get(colour_type, 4) * max(1, depth // 8)
    return ImageFile("PNG", b"".join(parts), (width, height), work, orientation or 1)
