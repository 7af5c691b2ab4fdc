"""The bytes of a photo that is named on the command line."""

import stat
import sys
from pathlib import Path
from typing import BinaryIO

from detector.errors import ImageError

STDIN = Path("-")
MAX_BYTES = 512 * 2**20
"""64 million pixels of four times 16 bits, uncompressed."""
_TOO_LONG = ImageError(f"more than {MAX_BYTES:,} bytes, which no photo that can be read has.")


def read_photo(path: Path) -> bytes:
    """The whole file; "-" is standard input. Raises OSError, and ImageError for what is no plain file or beyond any photo's size."""
    if path == STDIN:
        return _read(sys.stdin.buffer)
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ImageError(
            "not a plain file but a pipe, socket or device, which may never end. To read a photo from a pipe, pipe it into '-'."
        )
    if about.st_size > MAX_BYTES:
        raise _TOO_LONG
    with path.open("rb") as file:
        return _read(file)


def _read(file: BinaryIO) -> bytes:
    data = bytearray()
    while chunk := file.read(2**20):
        data += chunk
        if len(data) > MAX_BYTES:
            raise _TOO_LONG
    return bytes(data)
