"""JPEG: frame header, scans and end marker (ITU T.81, annex B)."""

import re
import struct
from dataclasses import dataclass, field

from detector.errors import DamagedImage, NotAnImage
from detector.imaging.formats.exif import read_orientation
from detector.imaging.formats.image_file import ImageFile, max_chunks

MAX_SCANS = 64  # Maximum number of scans of a progressive JPEG. Each scan is a pass over all pixels. Encoders write about 10.

MAX_STRIP_SEGMENTS = 16
"""Maximum segments before the pixels in a strip of a TIFF. Encoders write at most 10, and a file may have 100,000 strips."""

MAX_JPEG_HEADER_BYTES = 2**18
"""Maximum bytes of the segments that the decoder gets. 64 scans with tables have 70,000. Pillow reads tables in slow Python code."""

BLOCK_OVERHEAD = 8
"""Cost of visiting an 8 x 8 block in a scan, as a number of coefficients. Even a scan of few coefficients visits every block."""

START_OF_SCAN, END_OF_IMAGE, START_OF_IMAGE = 0xDA, 0xD9, 0xD8
_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # skips stuffed and fill bytes, and restart markers
_SEARCH_BYTES = 2**18
"""Bytes that one search for a marker covers. A search holds the GIL."""
_KEPT = frozenset((*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xE0, 0xEE))  # frames, tables, scans, JFIF and Adobe (colour space)
_SKIPPED = frozenset((*range(0xE0, 0xFF),))  # application segments and comments
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SUPPORTED_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, Huffman-coded: the types in common use

_FILLER = bytes(1 + byte * 97 % 254 for byte in range(64))  # no 0x00 or 0xff, which are special
_ENDINGS = (_FILLER + _END, bytes(255 - byte for byte in _FILLER) + _END)
"""Two endings with different first bits: entropy-coded data that lacks a bit decodes differently with each of them."""


@dataclass
class _Frame:
    """The frame header and the scans so far."""

    progressive: bool
    size: tuple[int, int]
    blocks: dict[int, int]  # 8 x 8 blocks by component
    low_bits: dict[int, list[int]] = field(default_factory=dict)  # missing low bits of the 64 coefficients, by component; -1: no scan
    work: int = 0
    scans: int = 0

    @classmethod
    def parse(cls, marker: int, segment: bytes) -> "_Frame":
        if marker not in _SUPPORTED_FRAMES:
            raise NotAnImage("the JPEG is lossless, hierarchical or arithmetic-coded, which is not supported. Save it as a baseline JPEG.")
        precision, height, width, count = struct.unpack_from(">BHHB", segment, 4)
        if precision in (12, 16):
            raise NotAnImage(f"the JPEG has {precision} bits per sample, which is not supported. Save it as a JPEG with 8 bits.")
        components = list(struct.iter_unpack("BBB", segment[10 : 10 + 3 * count]))
        sampling = {number: (factors >> 4, factors & 15) for number, factors, _ in components}
        if len(sampling) != count or not sampling or not all(1 <= x <= 4 and 1 <= y <= 4 for x, y in sampling.values()):
            raise DamagedImage("the JPEG has a corrupt frame header. Send the whole file.")
        max_x, max_y = (max(factors) for factors in zip(*sampling.values(), strict=True))
        blocks = {
            number: -(-width * x // (8 * max_x)) * -(-height * y // (8 * max_y))  # rounded up
            for number, (x, y) in sampling.items()
        }
        return cls(marker == 0xC2, (width, height), blocks, {number: [-1] * 64 for number in blocks})

    def add_scan(self, segment: bytes) -> None:
        """Add the work of a scan. Raises DamagedImage if no encoder would write it."""
        self.scans += 1
        if self.scans > MAX_SCANS:
            raise DamagedImage(f"the JPEG has more than {MAX_SCANS} scans; progressive images have about 10. Save it again.")
        count = segment[4]
        components = [segment[5 + 2 * index] for index in range(count)]
        first, last, bits = segment[5 + 2 * count : 8 + 2 * count]
        if not self.progressive:
            first, last, bits = 0, 63, 0
        if last > 63 or any(number not in self.blocks for number in components):
            raise DamagedImage("the JPEG has a corrupt scan header. Send the whole file.")
        for number in components:
            low_bits = self.low_bits[number]
            if not self.progressive and low_bits[0] >= 0:
                raise DamagedImage("the JPEG has two scans of one colour component; a sequential image has one. Save it again.")
            low_bits[first : last + 1] = [bits & 15] * (last + 1 - first)
            self.work += self.blocks[number] * (last + 1 - first + BLOCK_OVERHEAD)

    @property
    def coefficient_bytes(self) -> int:
        several_scans = self.progressive or self.scans > 1
        return 2 * 64 * sum(self.blocks.values()) if several_scans else 0

    def check_complete(self, *, ended: bool) -> None:
        """Raise DamagedImage if a scan is missing. An image with an end marker may lack refinements."""
        complete = all((low[0] >= 0) if ended else not any(low) for low in self.low_bits.values())
        if not complete:
            raise DamagedImage("the JPEG is truncated or corrupt (it lacks scans). Send the whole file.")


def _frame_after(frame: _Frame | None, marker: int, segment: bytes) -> _Frame | None:
    """Return the frame after a segment, with the work of a scan added. None before the frame header."""
    if marker in _FRAMES:
        if frame is not None:
            raise DamagedImage("the JPEG has two frame headers. Send the whole file.")
        return _Frame.parse(marker, segment)
    if marker == START_OF_SCAN:
        if frame is None:
            raise DamagedImage("the JPEG has no frame header before its pixels. Send the whole file.")
        frame.add_scan(segment)
    elif marker not in _KEPT and marker not in _SKIPPED:
        raise DamagedImage(f"the JPEG is truncated or corrupt (it has the invalid marker ff {marker:02x}). Send the whole file.")
    return frame


def parse_jpeg(data: bytes) -> ImageFile:
    """Read all headers of the first image, and drop metadata and everything after its end.

    The decoder gets exactly the segments that were read here, so it cannot find scans that were not counted.
    """
    parts = [data[:2]]
    position = 2
    frame: _Frame | None = None
    orientation: int | None = None
    header_bytes = 0
    for _ in range(max_chunks(data)):
        match = _next_marker(data, position)
        scanning = frame is not None and frame.scans > 0
        end = match.start() if match else len(data)
        if scanning:
            parts.append(_without_fill_bytes(data[position:end]))  # entropy-coded data of the last scan, or nothing
        if match is None or match[1][0] in (END_OF_IMAGE, START_OF_IMAGE):
            if frame is not None and scanning:
                return _finish(parts, frame, orientation or 1, ended=match is not None and match[1][0] == END_OF_IMAGE)
            if match is None:
                raise DamagedImage("the JPEG ends before its pixels begin. Send the whole file.")
            position = end + 2
            continue
        marker, segment = match[1][0], _segment(data, end)
        frame = _frame_after(frame, marker, segment)
        if marker == 0xE1 and orientation is None and segment[4:8] == b"Exif":
            orientation = read_orientation(segment[4:])
        if marker in _KEPT:
            parts.append(segment)
            header_bytes += len(segment)
            if header_bytes > MAX_JPEG_HEADER_BYTES:
                raise DamagedImage(f"the JPEG has more than {MAX_JPEG_HEADER_BYTES:,} bytes of headers and tables. Save it again.")
        position = end + len(segment)
    raise DamagedImage(f"the JPEG has more than {max_chunks(data):,} segments. Save it again.")


def _next_marker(data: bytes, position: int) -> re.Match[bytes] | None:
    for start in range(position, len(data), _SEARCH_BYTES):
        if match := _MARKER.search(data, start, start + _SEARCH_BYTES + 1):  # a marker may begin with the last byte
            return match
    return None


def _without_fill_bytes(scan: bytes) -> bytes:
    """Remove the bytes ff that may precede a marker (ITU T.81, B.1.1.2). Pillow searches a long run again after every 64 KiB."""
    while b"\xff\xff" in scan:
        scan = scan.replace(b"\xff\xff", b"\xff")
    return scan.removesuffix(b"\xff")


def _segment(data: bytes, position: int) -> bytes:
    """Return a segment, marker included. Raises struct.error if it is truncated."""
    (length,) = struct.unpack_from(">H", data, position + 2)
    if length < 2 or position + 2 + length > len(data):
        raise struct.error("truncated segment")
    return data[position : position + 2 + length]


def _finish(parts: list[bytes], frame: _Frame, orientation: int, *, ended: bool) -> ImageFile:
    frame.check_complete(ended=ended)
    body = b"".join((*parts, _END)) if ended else _without_padding(b"".join(parts))
    work = frame.work if ended else 2 * frame.work
    endings = () if ended else _ENDINGS
    return ImageFile("JPEG", body, frame.size, work, orientation, endings, coefficient_bytes=frame.coefficient_bytes)


def _without_padding(data: bytes) -> bytes:
    """Remove a run of one byte at the end, for example zeros, but keep the first byte, which may belong to the data."""
    if data.endswith(b"\xff"):
        return data.rstrip(b"\xff")  # the data contains ff only as ff 00
    body = data.rstrip(data[-1:])
    return body + data[len(body) : len(body) + 1]


def alternative_end(data: bytes) -> bytes:
    """Return a JPEG with filler before its end marker, which decodes to the same pixels if the file is complete."""
    return data.removesuffix(_END) + _ENDINGS[0]


def check_embedded_jpeg(data: bytes, max_size: tuple[int, int]) -> int:
    """Return the number of segments up to the frame header of a JPEG strip or tile of a TIFF.

    Raises DamagedImage unless it is a JPEG of at most `max_size` with one scan per component.
    """
    position = 2
    for count in range(1, MAX_STRIP_SEGMENTS + 1):
        match = _MARKER.search(data, position, position + _SEARCH_BYTES)
        if match is None or match[1][0] == START_OF_SCAN:
            break
        position = match.start() + 2
        if match[1][0] in (START_OF_IMAGE, END_OF_IMAGE):
            continue
        segment = _segment(data, match.start())
        if match[1][0] in _FRAMES:
            frame = _Frame.parse(match[1][0], segment)
            fits = frame.size[0] <= max_size[0] and frame.size[1] <= max_size[1]
            if fits and not frame.progressive and data.count(b"\xff\xda") <= len(frame.blocks):
                return count
            break
        position = match.start() + len(segment)
    raise DamagedImage("the TIFF has a JPEG strip that is too large or progressive, or has too many scans or segments. Save it again.")
