"""The memory in a model file: compact features of training images, stored as uint8 entries. Only fine-tuning decodes them.

    memory/index     what is stored: layers, labels, and the boxes of every image (see `training.features.memory_format`)
    memory/bases     principal components for decoding the features
    memory/features  the compressed features of all images

This module handles names, sizes and the checksum of the entries; `training.features` decodes them.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.errors import ModelFileError
from weights.formats.spec_json import parse_strict_json

MemoryEntries = Mapping[str, bytes]  # The three entries by name, without the prefix "memory/".

ENTRY_NAMES = ("index", "bases", "features")
PREFIX = "memory/"
MAX_MEMORY_BYTES = 2**28  # Limit for all entries together: almost fifty times the memory that ships with `everyday`.
MAX_INDEX_BYTES, MAX_INDEX_CONTAINERS = 2**24, 2**20
"""Bytes of the index, and its lists and objects: 20,000 images with about 40 boxes each. The index of `everyday` has 250 bytes for each of
its 400 images. As Python objects, an index of MAX_MEMORY_BYTES would take gigabytes."""


def memory_checksum(entries: MemoryEntries) -> str:
    """Return the SHA-256 of the entries: name, zero byte, content, in the order of ENTRY_NAMES."""
    digest = hashlib.sha256()
    for name in ENTRY_NAMES:
        digest.update(f"{PREFIX}{name}".encode() + b"\0")
        digest.update(entries[name])
    return digest.hexdigest()


def memory_arrays(entries: MemoryEntries) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Return the entries as arrays by their names in the file. Raises ModelFileError if they are too large."""
    if (size := sum(len(entries[name]) for name in ENTRY_NAMES)) > MAX_MEMORY_BYTES:
        raise ModelFileError(f"the memory has {size:,} bytes; the limit is {MAX_MEMORY_BYTES:,}. Store fewer images with --memory.")
    try:
        _check_index(entries["index"])
    except ModelFileError as error:
        raise ModelFileError(f"{error} Store fewer images with --memory.") from error
    return {f"{PREFIX}{name}": np.frombuffer(entries[name], np.uint8) for name in ENTRY_NAMES}


def is_memory_entry(name: str) -> bool:
    """Return whether an entry of a model file belongs to the memory."""
    return name in {f"{PREFIX}{each}" for each in ENTRY_NAMES}


def check_memory_entries(found: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Check the types and sizes of the memory's entries before one of them is read.

    Args:
        found: Type and shape of each entry in the file, by name.

    Raises:
        ModelFileError: An entry is missing, has another type, or is too large.
    """
    size = 0
    for name in (f"{PREFIX}{each}" for each in ENTRY_NAMES):
        dtype, shape = found.get(name, ("missing", ()))
        if dtype != "U8" or len(shape) != 1:
            raise ModelFileError(f"array {name!r} is {dtype} {list(shape)}, but the memory needs bytes (U8).")
        size += shape[0]
        if name == f"{PREFIX}index" and shape[0] > MAX_INDEX_BYTES:
            raise ModelFileError(f"the index of its memory has {shape[0]:,} bytes; the limit is {MAX_INDEX_BYTES:,}.")
    if size > MAX_MEMORY_BYTES:
        raise ModelFileError(f"its memory has {size:,} bytes; the limit is {MAX_MEMORY_BYTES:,}.")


def read_memory_entries(file: Any, checksum: str) -> dict[str, bytes]:
    """Read the entries of an open safetensors file. Raises ModelFileError if they do not match the checksum."""
    entries = {name: file.get_tensor(f"{PREFIX}{name}").tobytes() for name in ENTRY_NAMES}
    if memory_checksum(entries) != checksum:
        raise ModelFileError(
            "its memory is damaged: it does not match its checksum. Download or save the file again, "
            "or remove the memory with 'boxwright weights strip'."
        )
    return entries


def parse_memory_index(index: bytes) -> Any:
    """Parse the index of a memory. Raises ModelFileError if it is too large or not JSON, and UnicodeDecodeError if it is not ASCII."""
    _check_index(index)
    return parse_strict_json(index.decode("ascii"), f"{PREFIX}index")


def _check_index(index: bytes) -> None:
    """Raise ModelFileError if the index would take too much memory as Python objects."""
    containers = index.count(b"[") + index.count(b"{")
    if len(index) > MAX_INDEX_BYTES or containers > MAX_INDEX_CONTAINERS:
        raise ModelFileError(
            f"the index of the memory has {len(index):,} bytes with {containers:,} lists and objects; the limits are {MAX_INDEX_BYTES:,} "
            f"and {MAX_INDEX_CONTAINERS:,}."
        )


def summarise_memory(entries: MemoryEntries) -> dict[str, Any]:
    """Return the size of a memory, and the images, input sizes and boxes that its index lists. Raises ModelFileError."""
    try:
        index = parse_memory_index(entries["index"])
        boxes = Counter(index["labels"][number] for image in index["images"] for number in image["labels"])
        sizes = sorted({int(image["size"]) for image in index["images"]})
        return {
            "images": len(index["images"]),
            "bytes": sum(len(entries[name]) for name in ENTRY_NAMES),
            "input_sizes": sizes,
            "boxes": dict(sorted(boxes.items())),
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelFileError(f"the index of the memory is invalid: {error}. Remove it with 'boxwright weights strip'.") from error
