"""The cache folder: where pulled files lie, what makes one whole, and the hashes seen first.

A file appears under its own name only when its size and hash are right. Where nobody has published a sha256, the first one seen is
written to hashes.json and must match ever after, even when the file has been removed and is pulled again.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout
from platformdirs import user_cache_dir

from detector.errors import ModelFileError
from weights.atomic_files import atomic_write, sync_folder
from weights.errors import DiskError
from weights.hub.catalogue import Entry

log = logging.getLogger(__name__)

HASHES = "hashes.json"


def folder() -> Path:
    """Where pulled files lie: `weights` in BOXWRIGHT_HOME, or in the platform's cache folder."""
    home = os.environ.get("BOXWRIGHT_HOME") or user_cache_dir("boxwright", appauthor=False)
    return Path(home).expanduser() / "weights"


def path_of(entry: Entry) -> Path:
    """Where the entry's file lies once it is pulled."""
    return folder() / entry.file


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the one lock there is for that file, among all processes and threads; wait for it as long as it takes.

    Raises DiskError where its folder cannot be made or written.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path)
    except OSError as error:
        raise DiskError(f"{path.parent} cannot be written: {error.strerror}. Set BOXWRIGHT_HOME to a folder of yours.") from error
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, path: Path) -> None:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process is busy with %s; waiting for it", path.name)
        lock.acquire()


def adopt(entry: Entry, temporary: Path, sha256: str) -> Path:
    """Give a file that has been checked its name, and record its sha256."""
    remember(entry, sha256)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    path = path_of(entry)
    temporary.replace(path)
    sync_folder(path.parent)
    return path


def check(entry: Entry, path: Path) -> str:
    """The file's sha256, in hex, if its size and hashes are the entry's.

    Raises ModelFileError, saying what is wrong without naming the file: the caller knows where it came from.
    """
    with path.open("rb") as file:
        if looks_like_html(file.read(512)):
            raise ModelFileError("it is an HTML page, not weights")
    check_size(entry, path)
    sha256 = digest(path, "sha256")
    check_sha256(entry, sha256)
    for algorithm, wanted in entry.hashes.items():
        if algorithm != "sha256":
            _compare(f"published {algorithm}", digest(path, algorithm), wanted)
    return sha256


def check_size(entry: Entry, path: Path) -> None:
    """Raise ModelFileError, as `check` does, where the file's size is not the entry's."""
    size = path.stat().st_size
    if size not in entry.sizes and (entry.sizes or size > entry.largest):
        raise ModelFileError(f"it has {size:,} bytes instead of {entry.sizes_text}")


def check_sha256(entry: Entry, sha256: str) -> None:
    """Raise ModelFileError, as `check` does, where that is not the published or the recorded sha256."""
    if "sha256" in entry.hashes:
        _compare("published sha256", sha256, entry.hashes["sha256"])
    first = recorded(entry)
    if first is not None:
        record = f"sha256 recorded in {folder() / HASHES} when it was first pulled"
        _compare(f"{record} (if the first was the wrong one: boxwright weights remove {entry.name} --forget)", sha256, first)


def advice(entry: Entry) -> str:
    """What to do about a file in the cache that is not what it should be."""
    return f"Run: boxwright weights remove {entry.name}, then pull it again."


def _compare(what: str, got: str, wanted: str) -> None:
    if got != wanted:
        raise ModelFileError(f"its hash is {got} instead of {wanted}, the {what}: it is damaged or another file")


def digest(path: Path, algorithm: str) -> str:
    """The file's hash in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def looks_like_html(start: bytes) -> bool:
    """Whether these first bytes of a file are a web page's."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def recorded(entry: Entry) -> str | None:
    """The sha256 of this entry's file when it was first seen, or None. Raises ModelFileError where the record is damaged."""
    return _read_hashes().get(entry.name)


def remember(entry: Entry, sha256: str) -> None:
    """Record the sha256 seen first, unless one is published or recorded already."""
    path = folder() / HASHES
    if "sha256" in entry.hashes or recorded(entry) is not None:
        return
    with locked(path):
        hashes = _read_hashes()
        if entry.name in hashes:  # another process was quicker
            return
        _write_hashes(hashes | {entry.name: sha256})
    log.info("nobody has published a sha256 for %s; %s is recorded in %s and must match from now on", entry.name, sha256, path)


def forget(entry: Entry) -> None:
    """Remove the entry's sha256 from the record, so that the next file may be another."""
    path = folder() / HASHES
    with locked(path):
        hashes = _read_hashes()
        if hashes.pop(entry.name, None) is not None:
            _write_hashes(hashes)


def _write_hashes(hashes: dict[str, str]) -> None:
    with atomic_write(folder() / HASHES) as file:
        file.write((json.dumps(hashes, indent=2, sort_keys=True) + "\n").encode())


def _read_hashes() -> dict[str, str]:
    path = folder() / HASHES
    if not path.exists():
        return {}
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFileError(
            f"{path}: not the JSON that Boxwright wrote ({error}). Delete it if you trust the files pulled so far."
        ) from error
    if not isinstance(hashes, dict) or not all(isinstance(sha256, str) for sha256 in hashes.values()):
        raise ModelFileError(f"{path}: not the names and hashes that Boxwright wrote. Delete it if you trust the files pulled so far.")
    return hashes
