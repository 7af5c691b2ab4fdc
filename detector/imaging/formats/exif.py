"""TIFF directories, which TIFF files and EXIF blocks share (TIFF 6.0, section 2; CIPA DC-008)."""

import struct
from typing import Literal

ByteOrder = Literal["little", "big"]
DirectoryEntry = tuple[int, int, int, bytes]  # Tag, type, count, and the value or its offset.

TYPE_SIZES = {1: 1, 3: 2, 4: 4, 7: 1}  # Bytes of a value, by type: byte, short, long, undefined.
STRUCT_ORDER: dict[ByteOrder, str] = {"little": "<", "big": ">"}
ORIENTATION_TAG = 0x0112


def read_orientation(exif: bytes) -> int:
    """Return the orientation of an EXIF block or a TIFF file, 1 if it has none or is damaged."""
    try:
        order, _, entries = read_directory(exif.removeprefix(b"Exif\0\0"))
    except struct.error:
        return 1
    return next((entry_number(entry, order) for entry in entries if entry[0] == ORIENTATION_TAG), 1)


def read_directory(data: bytes) -> tuple[ByteOrder, int, list[DirectoryEntry]]:
    """Return the byte order, the offset and the entries of the first directory."""
    order: ByteOrder = "big" if data.startswith(b"MM") else "little"
    (offset,) = struct.unpack_from(STRUCT_ORDER[order] + "I", data, 4)
    (count,) = struct.unpack_from(STRUCT_ORDER[order] + "H", data, offset)
    entries = struct.iter_unpack(STRUCT_ORDER[order] + "HHI4s", data[offset + 2 : offset + 2 + 12 * count])
    return order, offset, list(entries)


def entry_number(entry: DirectoryEntry, order: ByteOrder) -> int:
    """Return the first value of an entry. The entry must contain its values instead of their offset."""
    _, kind, _, value = entry
    return int.from_bytes(value[: TYPE_SIZES.get(kind, 4)], order)
