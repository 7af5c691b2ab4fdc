"""A download that is not finished: its bytes, where they came from, and a disk that may be full."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from weights.atomic_files import atomic_write
from weights.errors import DiskError
from weights.hub.mirrors import without_password

Progress = Callable[[int, int | None], None]
"""Called with the bytes there are so far and those there will be in all, if that is known."""
CHUNK = 1 << 16  # bytes; at most so much of a broken download is lost

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROOM = "Make room, or set BOXWRIGHT_HOME to a folder on a larger disk."


@dataclass(frozen=True)
class Partial:
    """A file under a temporary name, and beside it a note of where its bytes come from."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def note(self) -> dict[str, str]:
        """`address` and, where the server gave one, `validator`; empty where there is no note that can be read."""
        try:
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # without it the bytes are fetched again, which is always right
            return {}
        return {key: value for key, value in note.items() if isinstance(value, str)} if isinstance(note, dict) else {}

    def is_from(self, address: str) -> bool:
        """Whether its bytes came from there, by its note."""
        return self.note.get("address") == without_password(address)

    @property
    def _note_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def begin(self, address: str, validator: str | None) -> None:
        """Empty the file, then note where its bytes will come from, without a password. Raises DiskError."""
        note = {"address": without_password(address)} | ({"validator": validator} if validator else {})
        with self.disk_errors():
            self.path.write_bytes(b"")
            with atomic_write(self._note_path) as file:
                file.write(json.dumps(note).encode())

    def append(self, file: FileIO, chunk: bytes) -> None:
        """Write all of the chunk, unbuffered: it is there for a later run, whatever happens to this one. Raises DiskError."""
        rest = memoryview(chunk)
        with self.disk_errors():
            while rest:
                rest = rest[file.write(rest) :]

    def discard(self) -> None:
        """Remove file and note."""
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)

    def check_space(self, needed: int) -> None:
        """Raise DiskError if the disk has no room for that many more bytes."""
        folder = self.path.parent
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DiskError(f"{folder} has room for {free:,} bytes and needs {needed:,} more. {_ROOM}")

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turn a failed write into a DiskError, and leave nothing behind: a full disk is everybody's trouble."""
        try:
            yield
        except OSError as error:
            self.discard()
            advice = _ROOM if error.errno in _FULL else "Check the folder and its rights."
            raise DiskError(f"{self.path} cannot be written: {error.strerror}. {advice}") from error


def beside(path: Path, suffix: Literal["partial", "copy"]) -> Partial:
    """What is to become the file at `path`: being downloaded, or copied from elsewhere."""
    return Partial(path.with_name(f"{path.name}.{suffix}"))
