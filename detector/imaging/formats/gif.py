"""GIF: the screen and the first frame (GIF89a, sections 18 to 23)."""

import struct

from detector.errors import DamagedImage
from detector.imaging.formats.image_file import MAX_CHUNKS, ImageFile

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def parse_gif(data: bytes) -> ImageFile:
    """Drop the extensions before the first frame, except the one with the transparent colour.

    The size includes a first frame that reaches beyond the screen, because the decoder allocates it.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    start = position = 13 + (6 << (flags & 7) if flags & 0x80 else 0)
    control, blocks = b"", 0
    for _ in range(MAX_CHUNKS):
        if data[position] == _IMAGE:
            break
        if data[position] == _TRAILER:
            raise DamagedImage("the GIF ends before its first frame. Send the whole file.")
        if data[position] == _EXTENSION:  # its kind, then blocks of up to 255 bytes; an empty block is the last
            begin = position
            position += 2
            while data[position]:
                position, blocks = position + 1 + data[position], blocks + 1
                if blocks > MAX_CHUNKS:
                    raise DamagedImage(f"the GIF has more than {MAX_CHUNKS:,} blocks before its first frame. Save it again.")
            if data[begin : begin + 3] == b"\x21\xf9\x04" and position == begin + 7:
                control = data[begin : position + 1]
        position += 1
    else:
        raise DamagedImage(f"the GIF has more than {MAX_CHUNKS:,} extensions before its first frame. Save it again.")
    left, top, frame_width, frame_height = struct.unpack_from("<4H", data, position + 1)
    size = max(width, left + frame_width), max(height, top + frame_height)
    return ImageFile("GIF", b"".join((data[:start], control, memoryview(data)[position:])), size, 2 * size[0] * size[1])
