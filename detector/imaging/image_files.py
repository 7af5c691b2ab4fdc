"""Image files before they are decoded: the format, the size that the header claims, which way is up, and the bytes that pixels need.

Sizes are read, and metadata left out, before Pillow sees a byte. So a pixel bomb is refused without taking memory, a damaged
EXIF block or a bloated text spoils nothing, and Pillow has nothing to warn about (warnings cannot be caught safely while
other threads decode).
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from detector.errors import DamagedImage, ImageTooLarge, NotAnImage

WANTED = "JPEG, PNG, WebP, GIF, BMP, TIFF or MPO"
MAX_PARTS = 100_000  # segments, chunks, extensions or strips: a photo has hundreds
MAX_SCANS = 64  # of a progressive JPEG, each a pass over all pixels; encoders write about 10
MAX_TILE = 4096  # pixels along a side of a TIFF's tile, unless the picture is larger

Format = Literal["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"]
_Order = Literal["little", "big"]
_Entry = tuple[int, int, int, bytes]  # of a TIFF directory: tag, type, count, the value or its offset


@dataclass(frozen=True)
class Photo:
    """An image file, not decoded yet."""

    format: Format
    data: bytes  # what a decoder is given: without the metadata and further pictures that it would stumble over
    size: tuple[int, int]  # width, height as claimed: before turning upright, and possibly a lie
    orientation: int = 1  # EXIF: 1 upright, 2..8 turned or mirrored


def open_photo(data: bytes) -> Photo:
    """Read what the headers say, and nothing else. Raises NotAnImage, DamagedImage, and ImageTooLarge for a TIFF's tiles."""
    for form, (signature, strip) in _FORMATS.items():
        if signature.match(data):
            try:
                return strip(data)
            except (struct.error, IndexError) as error:
                raise DamagedImage(f"the {form} ends within its header, {len(data):,} bytes in. Send the whole file.") from error
    for name, signature in _MISTAKEN.items():
        if signature.match(data):
            raise NotAnImage(f"the image is {name}. Send a {WANTED}.")
    head = data[:24]
    seen = repr(head.decode("ascii")) if re.fullmatch(rb"[\t-\r -~]+", head) else f"the bytes {head[:8].hex(' ')}"
    raise NotAnImage(f"this is no image that can be read: it starts with {seen}. Send a {WANTED}.")


def _jpeg(data: bytes) -> Photo:
    """All but comments and application segments, of which JFIF's and Adobe's tell the colours (ITU T.81, annex B)."""
    kept: list[bytes | memoryview] = [data[:2]]
    size, orientation, progressive, at = (0, 0), 1, False, 2
    for _ in range(MAX_PARTS):
        found = _SEGMENT.search(data, at)
        if found is None:
            raise DamagedImage("the JPEG ends before its pixels begin. Send the whole file.")
        at, kind = found.start(), found[1][0]
        if kind == 0xDA:  # start of scan: pixels, to the end
            break
        segment = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4])]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # a frame header
            height, width = struct.unpack_from(">HH", segment, 5)
            size, progressive = (width, height), kind & 3 == 2
        if kind == 0xE1 and segment[4:8] == b"Exif":
            orientation = _orientation(segment[4:])
        if kind in (0xE0, 0xEE) or kind < 0xE0:
            kept.append(segment)
        at += len(segment)
    else:
        raise DamagedImage(f"the JPEG has more than {MAX_PARTS:,} segments before its pixels. Save it anew.")
    if progressive and (scans := data.count(b"\xff\xda", at)) > MAX_SCANS:
        raise DamagedImage(f"the JPEG has {scans:,} scans; progressive photos have about 10. Save it anew.")
    kept.append(memoryview(data)[at:])
    return Photo("JPEG", b"".join(kept), size, orientation)


_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd9\xff])")  # a marker that a length follows, past filling and stuffing


def _png(data: bytes) -> Photo:
    """Header, palette, transparency and pixels; no texts, profiles, or frames of an animation (W3C PNG, section 11)."""
    kept: list[bytes | memoryview] = [data[:8]]
    width, height = struct.unpack_from(">II", data, 16)
    orientation, at = 1, 8
    for _ in range(MAX_PARTS):
        if at >= len(data):
            break
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(memoryview(data)[at:end])
        if kind == b"eXIf":
            orientation = _orientation(data[at + 8 : end - 4])
        at = end
    else:
        raise DamagedImage(f"the PNG has more than {MAX_PARTS:,} chunks. Save it anew.")
    return Photo("PNG", b"".join(kept), (width, height), orientation)


def _gif(data: bytes) -> Photo:
    """The screen and what begins with the first frame; of the extensions before it, the one with the transparent colour.

    A decoder makes room for a frame that reaches beyond the screen (GIF89a, sections 18 to 23).
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    start = at = 13 + (6 << (flags & 7) if flags & 0x80 else 0)
    control = b""
    for _ in range(MAX_PARTS):
        if data[at] == 0x2C:  # an image
            break
        if data[at] == 0x3B:
            raise DamagedImage("the GIF ends before its first frame. Send the whole file.")
        if data[at] == 0x21:  # an extension: its kind, then blocks of up to 255 bytes, the last one empty
            begin = at
            at += 2
            while data[at]:
                at += 1 + data[at]
            if data[begin : begin + 3] == b"\x21\xf9\x04" and at == begin + 7:
                control = data[begin : at + 1]
        at += 1
    else:
        raise DamagedImage(f"the GIF has more than {MAX_PARTS:,} extensions before its first frame. Save it anew.")
    left, top, wide, high = struct.unpack_from("<4H", data, at + 1)
    return Photo("GIF", b"".join((data[:start], control, memoryview(data)[at:])), (max(width, left + wide), max(height, top + high)))


def _bmp(data: bytes) -> Photo:
    if data[14] == 12:  # OS/2's header
        width, height = struct.unpack_from("<HH", data, 18)
        return Photo("BMP", data, (width, height))
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):  # Pillow undoes these in Python, pixel by pixel
        raise NotAnImage("the BMP is run-length encoded, which is not read. Save it as PNG.")
    return Photo("BMP", data, (width, abs(height)))  # negative: rows from the top


def _webp(data: bytes) -> Photo:
    """The file as it is (RFC 9649): its metadata is read by nobody."""
    kind = data[12:16]
    if kind == b"VP8X":
        across, down = struct.unpack_from("<I", data, 24), struct.unpack_from("<I", data, 26)
        size = (across[0] & 0xFFFFFF) + 1, (down[0] >> 8) + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = struct.unpack_from("<HH", data, 26)
        size = width & 0x3FFF, height & 0x3FFF
    orientation, at = 1, 12
    for _ in range(MAX_PARTS):
        if at >= len(data):
            break
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            orientation = _orientation(data[at + 8 : end])
        at = end + (end & 1)
    else:
        raise DamagedImage(f"the WebP has more than {MAX_PARTS:,} chunks. Save it anew.")
    return Photo("WebP", data, size, orientation)


def _tiff(data: bytes) -> Photo:
    """The first page, its directory rewritten in place with the entries that pixels need (TIFF 6.0)."""
    order, offset, entries = _directory(data)
    if offset < 8:
        raise DamagedImage("the TIFF is corrupt: its directory lies within its header. Send the whole file.")
    kept = {entry[0]: entry for entry in reversed(entries) if entry[0] in _TIFF_PIXELS}  # of two, the first
    _check_entries(kept, order, len(data))
    values = {tag: _number(entry, order) for tag, entry in kept.items()}
    if values.get(259, 1) not in _TIFF_COMPRESSIONS:
        raise NotAnImage(f"the TIFF is compressed by method {values[259]}, which is not read. Save it with LZW, Deflate, or none.")
    if not 1 <= values.get(277, 1) <= 5:
        raise NotAnImage(f"the TIFF has {values[277]:,} samples per pixel; photos have 1 to 5. Save it as 8-bit RGB.")
    size = values.get(256, 0), values.get(257, 0)
    if max(values.get(322, 0), values.get(323, 0)) > max(MAX_TILE, *size):
        raise ImageTooLarge(f"the TIFF has tiles of {values.get(322)} x {values.get(323)} pixels; at most {MAX_TILE} a side are read.")
    directory = struct.pack(_MARK[order] + "H", len(kept))
    directory += b"".join(struct.pack(_MARK[order] + "HHI4s", *kept[tag]) for tag in sorted(kept)) + bytes(4)  # no next page
    bare = bytearray(data)
    bare[offset : offset + len(directory)] = directory
    return Photo("TIFF", bytes(bare), size, _orientation(data))


def _check_entries(entries: Mapping[int, _Entry], order: _Order, length: int) -> None:
    """Every value must be of a known type, as many as belong there, and lie within the file."""
    total = 0
    for tag, (_, kind, count, value) in entries.items():
        if kind not in _TYPES or not 1 <= count <= (MAX_PARTS if tag in _TIFF_LISTS else 1):
            raise DamagedImage(f"the TIFF is corrupt: its tag {tag} has {count:,} values of type {kind}. Send the whole file.")
        size = count * _TYPES[kind]
        if size > 4:
            total += size
            if max(total, int.from_bytes(value, order) + size) > length:
                raise DamagedImage(f"the TIFF is cut short: its tag {tag} points past the end, at {length:,} bytes. Send the whole file.")


def _orientation(exif: bytes) -> int:
    """Orientation of an EXIF block or a TIFF file (CIPA DC-008, tag 0x0112); 1 where it says nothing, or nothing legible."""
    try:
        order, _, entries = _directory(exif.removeprefix(b"Exif\0\0"))
    except struct.error:
        return 1
    return next((_number(entry, order) for entry in entries if entry[0] == 0x0112), 1)


def _directory(data: bytes) -> tuple[_Order, int, list[_Entry]]:
    """Byte order, offset and entries of the first directory of a TIFF file or an EXIF block (TIFF 6.0, section 2)."""
    order: _Order = "big" if data.startswith(b"MM") else "little"
    (offset,) = struct.unpack_from(_MARK[order] + "I", data, 4)
    (count,) = struct.unpack_from(_MARK[order] + "H", data, offset)
    entries = struct.iter_unpack(_MARK[order] + "HHI4s", data[offset + 2 : offset + 2 + 12 * count])
    return order, offset, list(entries)


def _number(entry: _Entry, order: _Order) -> int:
    _, kind, _, value = entry
    return int.from_bytes(value[: _TYPES.get(kind, 4)], order)


_TYPES = {1: 1, 3: 2, 4: 4, 7: 1}  # bytes of a value: byte, short, long, undefined
_MARK: dict[_Order, str] = {"little": "<", "big": ">"}
# bits, strips, palette, tiles, kinds of samples, JPEG tables, subsampling
_TIFF_LISTS = frozenset((258, 273, 279, 320, 324, 325, 338, 339, 347, 530))
_TIFF_PIXELS = _TIFF_LISTS | {256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323}  # sides, coding, layout
_TIFF_COMPRESSIONS = frozenset((1, 5, 7, 8, 32773, 32946))  # none, LZW, JPEG, Deflate, PackBits

_FORMATS: dict[Format, tuple[re.Pattern[bytes], Callable[[bytes], Photo]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), _jpeg),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    "WebP": (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), _webp),
    "GIF": (re.compile(rb"GIF8[79]a"), _gif),
    "BMP": (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), _bmp),
    "TIFF": (re.compile(rb"II\*\0|MM\0\*"), _tiff),
}
_MISTAKEN = {
    "HEIC or AVIF, as some telephones write": re.compile(rb".{4}ftyp(hei|hev|mif|msf|avi)", re.DOTALL),
    "a video": re.compile(rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ", re.DOTALL),
    "a PDF": re.compile(rb"%PDF"),
    "a ZIP archive": re.compile(rb"PK\x03\x04"),
    "base64 text, which must be decoded first": re.compile(rb"data:image/|/9j/|iVBORw0KGgo|UklGR|R0lGOD"),
}
