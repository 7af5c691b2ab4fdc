"""A private copy of a file in memory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weights.formats.bounded_io import open_regular_file


@contextmanager
def snapshot(path: Path) -> Iterator[Path]:
    """Copy a file into memory, and yield the path of the copy, which is valid within the block.

    safetensors maps the files it reads. If another program overwrites a mapped file, it truncates the file first, and SIGBUS kills the
    process that reads the mapping. The copy avoids this.

    Raises:
        ModelFileError: The file cannot be read or is not a regular file.
    """
    descriptor = os.memfd_create(path.name[:200])
    with open(descriptor, "wb") as copy:  # noqa: PTH123  # a descriptor has no path
        with open_regular_file(path) as (file, _):
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
        yield Path(f"/proc/self/fd/{descriptor}")
