"""A private copy of a file."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from weights.formats.bounded_io import open_regular_file

_CHUNK_BYTES = 2**20


@contextmanager
def snapshot(path: Path, max_bytes: int | None = None) -> Iterator[Path]:
    """Copy a file into memory (Linux) or into a temporary folder, and yield the path of the copy, which is valid within the block.

    safetensors maps its files into memory. When another program overwrites a mapped file, it first truncates it, and SIGBUS kills the
    process that reads the mapping. A private copy avoids this.

    Args:
        path: The file.
        max_bytes: Copy at most this many bytes, because another program may append to the file without end.

    Raises:
        ModelFileError: The file cannot be read or is not a regular file.
    """
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows cannot delete a mapped file
            copy_path = Path(folder) / "copy"
            with copy_path.open("wb") as copy:
                _copy(path, copy, max_bytes)
            yield copy_path
        return
    descriptor = os.memfd_create(path.name[:200])
    with open(descriptor, "wb") as copy:  # noqa: PTH123  # a descriptor has no path
        _copy(path, copy, max_bytes)
        copy.flush()
        yield Path(f"/proc/self/fd/{descriptor}")


def _copy(path: Path, copy: BinaryIO, max_bytes: int | None) -> None:
    with open_regular_file(path) as (file, size):
        left = size if max_bytes is None else min(size, max_bytes)
        while left and (part := file.read(min(left, _CHUNK_BYTES))):
            copy.write(part)
            left -= len(part)
