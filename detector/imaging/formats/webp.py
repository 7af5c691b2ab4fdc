"""WebP: the canvas and the first frame (RFC 9649)."""

import struct
from math import ceil

from detector.errors import DamagedImage
from detector.imaging.formats.exif import read_orientation
from detector.imaging.formats.image_file import ImageFile, max_chunks
from detector.messages import count_of

_MAX_HUFFMAN_GROUPS = 65_536
_GROUP_SIDE = 4  # pixels; the smallest block that may have its own group

_ANIMATION, _ALPHA = 0x02, 0x10  # flags of VP8X


def parse_webp(data: bytes) -> ImageFile:
    """Drop metadata, colour profiles and all frames of an animation after the first."""
    size = _canvas_size(data)
    if 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise DamagedImage(f"the WebP is truncated or corrupt; received: {count_of(len(data), 'byte')}. Send the whole file.")
    parts: list[bytes | memoryview] = []
    orientation: int | None = None
    animated, lossless, position = False, False, 12
    for _ in range(max_chunks(data)):
        if position >= len(data):
            break
        kind, end = data[position : position + 4], position + 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        end += end & 1  # chunks are padded to an even length
        if kind == b"VP8X":
            flags = bytes([data[position + 8] & (_ANIMATION | _ALPHA)])
            parts += (data[position : position + 8], flags, data[position + 9 : end])
        elif kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM") or (kind == b"ANMF" and not animated):
            parts.append(memoryview(data)[position:end])
            animated |= kind == b"ANMF"
            lossless |= kind in (b"VP8L", b"ALPH", b"ANMF")  # the alpha channel is lossless, and frames may be
        elif kind == b"EXIF" and orientation is None:
            orientation = read_orientation(data[position + 8 : end])
        position = end
    else:
        raise DamagedImage(f"the WebP has more than {max_chunks(data):,} chunks. Save it again.")
    body_bytes = sum(len(part) for part in parts)
    image_bytes = b"".join([b"RIFF", struct.pack("<I", 4 + body_bytes), b"WEBP", *parts])  # one copy: files can be large
    work = (2 if animated else 1) * 4 * size[0] * size[1]
    groups = min(_MAX_HUFFMAN_GROUPS, ceil(size[0] / _GROUP_SIDE) * ceil(size[1] / _GROUP_SIDE)) if lossless else 0
    return ImageFile("WebP", image_bytes, size, work, orientation or 1, huffman_groups=groups)


def _canvas_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        (width_bits,), (height_bits,) = struct.unpack_from("<I", data, 24), struct.unpack_from("<I", data, 26)
        return (width_bits & 0xFFFFFF) + 1, (height_bits >> 8) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
