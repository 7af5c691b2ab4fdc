"""Read untrusted files within size limits."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from detector.errors import ModelFileError
from detector.text_encoding import decode_text

MAX_INTEGER = 2**31 - 1  # Darknet stores integers in 32 bits; nothing in a network needs more.
MAX_LAYERS = 1000


@contextmanager
def open_regular_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading, and yield it with its size in bytes.

    Raises ModelFileError if it cannot be read or is not a regular file: a pipe, for example, has no size and may never end.
    """
    try:
        _check_regular(path, path.stat())
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            _check_regular(path, status)  # another program may have replaced the file since the first check
            yield file, status.st_size
    except OSError as error:
        if str(error.filename or path) != str(path):  # the caller reads or writes another file within the block
            raise
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from error


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{path} is not a regular file.")


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file. Opening a pipe would otherwise wait for a writer, possibly forever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_small_text(path: Path, *, encoding: str, limit: int) -> str:
    """Read a whole text file, in `encoding` or with a byte order mark. Raises ModelFileError if it has more than `limit` bytes."""
    with open_regular_file(path) as (file, size):
        if size > limit:
            raise ModelFileError(f"{path} has {size} bytes, but a text file of this kind has at most {limit}. Is it the right file?")
        data = file.read(size)
    try:
        return decode_text(data, encoding)
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{path} is not {encoding} text: byte {error.start} is invalid. Save the file as {encoding}.") from error
