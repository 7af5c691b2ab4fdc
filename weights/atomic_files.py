"""A file appears under its name only when it is whole."""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, which takes the place of `path` when the block ends well; otherwise nothing changes.

    It is written beside `path` under a temporary name, flushed to the disk, then renamed. Raises OSError where the disk refuses.
    """
    with atomic_write_all(path) as (file,):
        yield file


@contextmanager
def atomic_write_all(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """`atomic_write` for files that belong together: all of them are on the disk before the first takes its name."""
    temporaries = [path.with_name(f".{secrets.token_hex(8)}.part") for path in paths]
    try:
        with ExitStack() as stack:
            files = tuple(stack.enter_context(_opened(*pair)) for pair in zip(temporaries, paths, strict=True))
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
    except BaseException:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in paths}:
        sync_folder(folder)


def _opened(temporary: Path, path: Path) -> BinaryIO:
    try:
        return temporary.open("xb")
    except OSError as error:  # in the name of the file that was asked for
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(folder: Path) -> None:
    """The rename itself must outlive a power failure too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
