"""A private copy of a file, in memory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weights.formats.bounded_io import opened


@contextmanager
def snapshot(path: Path) -> Iterator[Path]:
    """Within the block, a path that holds what was read of the file, whatever becomes of the file meanwhile.

    safetensors maps the files it reads. Where somebody copies another file over one that is mapped, it is cut short first, and the
    process that reads on is killed (SIGBUS). Raises ModelFileError where the file cannot be read, and for what is not a plain file.
    """
    descriptor = os.memfd_create(path.name[:200])
    with open(descriptor, "wb") as copy:  # noqa: PTH123  # a descriptor has no path
        with opened(path) as (file, _):
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
        yield Path(f"/proc/self/fd/{descriptor}")
