"""TIFF: the first page, its strips and tiles (TIFF 6.0)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from detector.errors import DamagedImage, ImageTooLarge, NotAnImage
from detector.imaging.formats.exif import (
    STRUCT_ORDER,
    TYPE_SIZES,
    ByteOrder,
    DirectoryEntry,
    entry_number,
    read_directory,
    read_orientation,
)
from detector.imaging.formats.image_file import MAX_CHUNKS, ImageFile
from detector.imaging.formats.jpeg import check_embedded_jpeg
from detector.messages import count_of

MAX_TILE = 2048  # Maximum side of a tile in pixels, unless the image is larger.
MAX_SEGMENT_BYTES = 2**28
"""Maximum decoded bytes of one strip or tile, which the decoder holds in memory in addition to the image."""
MAX_TILE_AREA_FACTOR = 4  # Maximum area of all tiles, as a multiple of the image's area (plus one tile of MAX_TILE).

SUBFILE_TYPE, REDUCED_SIZE = 254, 1  # NewSubfileType; its lowest bit: a smaller version of another page
WIDTH, HEIGHT, BITS, COMPRESSION, ROWS_PER_STRIP, SAMPLES, PLANAR = 256, 257, 258, 259, 278, 277, 284
TILE_WIDTH, TILE_HEIGHT = 322, 323
STRIP_OFFSETS, STRIP_LENGTHS, TILE_OFFSETS, TILE_LENGTHS = 273, 279, 324, 325
NO_COMPRESSION, JPEG_COMPRESSION = 1, 7

# bits, strips, palette, tiles, kinds of samples, JPEG tables, subsampling
_LIST_TAGS = frozenset((BITS, STRIP_OFFSETS, STRIP_LENGTHS, 320, TILE_OFFSETS, TILE_LENGTHS, 338, 339, 347, 530))
_PIXEL_TAGS = _LIST_TAGS | {WIDTH, HEIGHT, COMPRESSION, 262, 266, SAMPLES, ROWS_PER_STRIP, PLANAR, 317, TILE_WIDTH, TILE_HEIGHT}
_STRIP_TAGS, _TILE_TAGS = frozenset((STRIP_OFFSETS, STRIP_LENGTHS)), frozenset((TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_LENGTHS))
_COMPRESSIONS = frozenset((NO_COMPRESSION, 5, JPEG_COMPRESSION, 8, 32773, 32946))  # none, LZW, JPEG, Deflate, PackBits


def parse_tiff(data: bytes) -> ImageFile:
    """Rewrite the directory of the first page with only the entries that its pixels need."""
    order, offset, entries = read_directory(data)
    if offset < 8:
        raise DamagedImage("the TIFF is corrupt: its directory overlaps its header. Send the whole file.")
    if any(entry[0] == SUBFILE_TYPE and entry_number(entry, order) & REDUCED_SIZE for entry in entries):
        raise NotAnImage(
            "the first page of the TIFF is only a preview, as in raw files of cameras (DNG, NEF). Save the image as JPEG or PNG."
        )
    kept = {entry[0]: entry for entry in reversed(entries) if entry[0] in _PIXEL_TAGS}  # the first of repeated tags applies
    for tag in _STRIP_TAGS if kept.keys() & (_TILE_TAGS - {TILE_LENGTHS}) else _TILE_TAGS:
        kept.pop(tag, None)  # libtiff would use unchecked lengths of tiles for strips, and vice versa
    _check_entries(kept, order, offset, len(data))
    values = {tag: entry_number(entry, order) for tag, entry in kept.items()}
    if values.get(COMPRESSION, NO_COMPRESSION) not in _COMPRESSIONS:
        raise NotAnImage(f"the TIFF has compression method {values[COMPRESSION]}, which is not supported. Save it with LZW or Deflate.")
    if not 1 <= values.get(SAMPLES, 1) <= 5:
        raise NotAnImage(f"the TIFF has {values[SAMPLES]:,} samples per pixel; 1 to 5 are supported. Save it as 8-bit RGB.")
    page = _Page.of(data, order, kept, values)
    page.check_segments(data)
    directory = struct.pack(STRUCT_ORDER[order] + "H", len(kept))
    directory += b"".join(struct.pack(STRUCT_ORDER[order] + "HHI4s", *kept[tag]) for tag in sorted(kept)) + bytes(4)  # no next page
    image_bytes = bytearray(data)
    image_bytes[offset : offset + len(directory)] = directory
    return ImageFile("TIFF", bytes(image_bytes), (page.width, page.height), page.work, read_orientation(data))


@dataclass(frozen=True)
class _Page:
    """The first page and its segments: strips or tiles."""

    width: int
    height: int
    bytes_per_pixel: float  # in one segment
    planes: int
    segment_width: int
    segment_height: int
    tiled: bool
    compression: int
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, data: bytes, order: ByteOrder, entries: Mapping[int, DirectoryEntry], values: Mapping[int, int]) -> "_Page":
        width, height, samples = values.get(WIDTH, 0), values.get(HEIGHT, 0), values.get(SAMPLES, 1)
        planes = samples if values.get(PLANAR, 1) == 2 else 1
        bits = max(_numbers(data, entries.get(BITS), order), default=1)
        tiled = TILE_WIDTH in values or TILE_HEIGHT in values or TILE_OFFSETS in values
        if tiled:
            segment, tags = (values.get(TILE_WIDTH, 0), values.get(TILE_HEIGHT, 0)), (TILE_OFFSETS, TILE_LENGTHS)
        else:
            segment, tags = (width, min(values.get(ROWS_PER_STRIP, height) or height, height)), (STRIP_OFFSETS, STRIP_LENGTHS)
        offsets, lengths = (_numbers(data, entries.get(tag), order) for tag in tags)
        compression = values.get(COMPRESSION, NO_COMPRESSION)
        return cls(width, height, samples / planes * bits / 8, planes, *segment, tiled, compression, offsets, lengths)

    @property
    def _columns(self) -> int:
        return ceil(self.width / max(1, self.segment_width))

    @property
    def _rows(self) -> int:
        return ceil(self.height / max(1, self.segment_height))

    @property
    def _segment_area(self) -> int:
        return self.segment_width * self.segment_height

    @property
    def work(self) -> int:
        return ceil(self._columns * self._rows * self.planes * self._segment_area * max(1, self.bytes_per_pixel))

    def check_segments(self, data: bytes) -> None:
        """Raise ImageTooLarge or DamagedImage for strips or tiles that cost more than the image's pixels justify."""
        if min(self.width, self.height) < 1:
            return  # the caller refuses this size
        if self.tiled:
            self._check_tiles()
        if self._segment_area * self.bytes_per_pixel > MAX_SEGMENT_BYTES:
            raise ImageTooLarge(
                f"the TIFF has {self._kind} of {self.segment_width:,} x {self.segment_height:,} pixels; "
                f"at most {MAX_SEGMENT_BYTES:,} bytes each are decoded. Save it with smaller {self._kind}, or as PNG."
            )
        needed = self._columns * self._rows * self.planes
        if len(self.offsets) != needed or (self.lengths and len(self.lengths) != needed):
            raise DamagedImage(
                f"the TIFF needs {count_of(needed, self._kind.removesuffix('s'))} and has {len(self.offsets):,}. Send the whole file."
            )
        if len(set(self.offsets)) != needed or sum(self.lengths) > len(data) or self._overlap():
            if any(offset + length > len(data) for offset, length in zip(self.offsets, self.lengths or (0,) * needed, strict=True)):
                raise DamagedImage(
                    f"the TIFF is truncated after {count_of(len(data), 'byte')}: {self._kind} are missing. Send the whole file."
                )
            raise DamagedImage(f"the TIFF has {self._kind} that share bytes. Save it again.")
        if self.compression == JPEG_COMPRESSION:
            self._check_jpeg(data)

    def _overlap(self) -> bool:
        """Return whether uncompressed segments overlap. Pillow ignores their lengths: it reads past the next offset."""
        last_rows = self.segment_height if self.tiled else self.height % self.segment_height or self.segment_height
        smallest = int(self.segment_width * self.bytes_per_pixel) * last_rows
        return self.compression == NO_COMPRESSION and any(end - start < smallest for start, end in pairwise(sorted(self.offsets)))

    def _check_tiles(self) -> None:
        sides = ((self.segment_width, self.width), (self.segment_height, self.height))
        size = f"the TIFF has tiles of {self.segment_width:,} x {self.segment_height:,} pixels"
        if min(self.segment_width, self.segment_height) < 1:
            raise DamagedImage(f"{size}. Send the whole file.")
        total = self._columns * self._rows * self._segment_area
        if any(tile > max(MAX_TILE, ceil(side / 16) * 16) for tile, side in sides):
            raise ImageTooLarge(f"{size}; at most {MAX_TILE} per side, or the image's side, are allowed. Save it with smaller tiles.")
        if total > MAX_TILE_AREA_FACTOR * self.width * self.height + MAX_TILE**2:
            raise ImageTooLarge(f"{size}, {total:,} in total; the image has {self.width * self.height:,}. Save it with smaller tiles.")

    def _check_jpeg(self, data: bytes) -> None:
        if len(self.lengths) != len(self.offsets):
            raise DamagedImage("the TIFF does not state the lengths of its JPEG strips. Send the whole file.")
        if self._rows > 1 and self.segment_height % 8:
            raise DamagedImage(f"the TIFF has JPEG strips of {self.segment_height} rows; a multiple of 8 is needed. Save it again.")
        segments = 0
        for offset, length in zip(self.offsets, self.lengths, strict=True):
            segments += check_embedded_jpeg(data[offset : offset + length], (self.segment_width, self.segment_height))
            if segments > MAX_CHUNKS:
                raise DamagedImage(f"the TIFF's JPEG {self._kind} have more than {MAX_CHUNKS:,} segments. Save it again.")

    @property
    def _kind(self) -> str:
        return "tiles" if self.tiled else "strips"


def _check_entries(entries: Mapping[int, DirectoryEntry], order: ByteOrder, directory: int, length: int) -> None:
    """Raise DamagedImage unless every value has a known type and a plausible count, and is inside the file.

    Values inside the directory are refused: the rewritten directory would change them after they have been checked.
    """
    total, directory_end = 0, directory + 2 + 12 * len(entries) + 4
    for tag, (_, kind, count, value) in entries.items():
        if kind not in TYPE_SIZES or not 1 <= count <= (MAX_CHUNKS if tag in _LIST_TAGS else 1):
            raise DamagedImage(f"the TIFF is corrupt: its tag {tag} has {count:,} values of type {kind}. Send the whole file.")
        size = count * TYPE_SIZES[kind]
        if size > 4:
            total += size
            start = int.from_bytes(value, order)
            if max(total, start + size) > length:
                raise DamagedImage(f"the TIFF is truncated: its tag {tag} points past the end, at {length:,} bytes. Send the whole file.")
            if start < directory_end and start + size > directory:
                raise DamagedImage(f"the TIFF is corrupt: the values of its tag {tag} overlap its directory. Save it again.")


def _numbers(data: bytes, entry: DirectoryEntry | None, order: ByteOrder) -> tuple[int, ...]:
    """Return all values of an entry that `_check_entries` accepts."""
    if entry is None:
        return ()
    _, kind, count, value = entry
    code = {1: "B", 3: "H", 4: "I", 7: "B"}[kind]
    if count * TYPE_SIZES[kind] <= 4:
        return struct.unpack_from(f"{STRUCT_ORDER[order]}{count}{code}", value)
    return struct.unpack_from(f"{STRUCT_ORDER[order]}{count}{code}", data, int.from_bytes(value, order))
