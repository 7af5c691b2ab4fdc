"""An unfinished download or copy: its bytes, a note of their origin, and disk errors."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from weights.atomic_files import DISK_FULL, atomic_write
from weights.errors import DiskError
from weights.hub.mirrors import redact_password

ProgressCallback = Callable[[int, int | None], None]
"""Called with the number of bytes so far and the total, which is None if unknown."""
CHUNK_BYTES = 1 << 16  # Bytes per read and write. A broken download loses at most one chunk.

_FREE_SPACE_HINT = "Free some space, or set BOXWRIGHT_HOME to a folder on a larger disk."


@dataclass(frozen=True)
class PartialFile:
    """A file under a temporary name, with a JSON note next to it that records where its bytes come from."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def note(self) -> dict[str, str]:
        """`address` and, if the server sent one, `validator`. Empty if the note is missing or damaged."""
        try:
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # without a note, the download safely starts again
            return {}
        return {key: value for key, value in note.items() if isinstance(value, str)} if isinstance(note, dict) else {}

    def is_from(self, address: str) -> bool:
        """True if the note names this address as the origin of the bytes."""
        return self.note.get("address") == redact_password(address)

    @property
    def _note_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def start(self, address: str, validator: str | None) -> None:
        """Empty the file and record the origin of the bytes that follow, without a password. Raises DiskError."""
        note = {"address": redact_password(address)} | ({"validator": validator} if validator else {})
        with self.raising_disk_errors():
            self.path.write_bytes(b"")
            with atomic_write(self._note_path) as file:
                file.write(json.dumps(note).encode())

    def append(self, file: FileIO, chunk: bytes) -> None:
        """Write the whole chunk unbuffered, so that a later run can use it even if this process is killed. Raises DiskError."""
        rest = memoryview(chunk)
        with self.raising_disk_errors():
            while rest:
                rest = rest[file.write(rest) :]

    def discard(self) -> None:
        """Delete the file and its note."""
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)

    def check_space(self, needed: int) -> None:
        """Raise DiskError if the disk has fewer free bytes than needed."""
        folder = self.path.parent
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DiskError(f"{folder} has {free:,} free bytes, but {needed:,} are needed. {_FREE_SPACE_HINT}")

    @contextmanager
    def raising_disk_errors(self) -> Iterator[None]:
        """Turn a failed write into a DiskError, and discard the file: other programs need the space of a full disk."""
        try:
            yield
        except OSError as error:
            self.discard()
            hint = _FREE_SPACE_HINT if error.errno in DISK_FULL else "Check the folder and its permissions."
            raise DiskError(f"{self.path} cannot be written: {error.strerror}. {hint}") from error


def partial_for(path: Path, suffix: Literal["partial", "copy"]) -> PartialFile:
    """Return the temporary file that becomes `path`: "partial" for a download, "copy" for a copy of a local file."""
    return PartialFile(path.with_name(f"{path.name}.{suffix}"))
