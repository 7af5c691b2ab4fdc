"""Files that get their name only when they are complete, and locks between processes."""

import errno
import io
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from filelock import FileLock, Timeout

from weights.errors import DiskError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a write that exceeds the space of the disk, the quota, or the maximum size of a file."""

logger = logging.getLogger(__name__)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    The data is on the disk before the rename. After an error, `path` is unchanged and the temporary file is deleted. Raises OSError with
    `path` as its file name.
    """
    with atomic_write_all(path) as (file,):
        yield file


@contextmanager
def atomic_write_all(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """Open temporary files for a group of paths, like `atomic_write`. All data is on the disk before the first rename."""
    temporaries = [path.with_name(f".{secrets.token_hex(8)}.part") for path in paths]
    try:
        with ExitStack() as stack:
            pairs = zip(temporaries, paths, strict=True)
            files = tuple(stack.enter_context(cast(BinaryIO, io.BufferedWriter(_OutputFile(*pair)))) for pair in pairs)
            with _name_in_unnamed_errors(paths[0]):
                yield files
            for file, path in zip(files, paths, strict=True):
                file.flush()
                with _name_in_errors(path):
                    os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths, strict=True):
            with _name_in_errors(path):
                temporary.replace(path)
    except BaseException:
        for temporary in temporaries:
            with suppress(OSError):  # it does not exist if its folder cannot be written
                temporary.unlink()
        raise
    for folder in {path.parent for path in paths}:
        sync_folder(folder)


class _OutputFile(io.FileIO):
    """A temporary file. Its write errors name the file that it will become."""

    def __init__(self, temporary: Path, path: Path) -> None:
        self._path = path
        with _name_in_errors(path):
            super().__init__(temporary, "x")

    def write(self, data: Any, /) -> int:
        with _name_in_errors(self._path):
            return super().write(data)


@contextmanager
def _name_in_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _name_in_unnamed_errors(path: Path) -> Iterator[None]:
    """Name the file in errors of libraries that write to its descriptor, such as Pillow."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename survives a power failure."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, PATH.lock. Create its folder if necessary, and wait until other processes and threads release the lock.

    Raises DiskError if the folder cannot be created or written.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            logger.info("waiting for another process to finish with %s", path.name)
            lock.acquire()
    except OSError as error:
        raise DiskError(f"{path.parent} cannot be written: {error.strerror}. Set BOXWRIGHT_HOME to a folder that you can write.") from error
    try:
        yield
    finally:
        lock.release()
