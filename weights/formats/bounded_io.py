"""Opening a file that a stranger may have made, and how much it may ask of us."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from detector.errors import ModelFileError

INTEGER_LIMIT = 2**31 - 1
"""Darknet keeps integers in 32 bits; nothing in a network needs more."""
MAX_LAYERS = 1000


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file, open for reading, and its size in bytes.

    Raises ModelFileError where the system cannot read it, and for what is not a plain file: a pipe has no size and may never end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelFileError(f"{path} is not a plain file.")
        with path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_text(path: Path, *, encoding: str, limit: int) -> str:
    """The whole of a small text file. Raises ModelFileError if it has more than `limit` bytes or is not in that encoding."""
    with opened(path) as (file, size):
        if size > limit:
            raise ModelFileError(f"{path} has {size} bytes, a text file of this kind at most {limit}: is it the right file?")
        data = file.read(size)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{path} is not {encoding} text: byte {error.start} does not fit. Save it as {encoding}.") from error
