"""The cache folder of downloaded files, and the checks that a file must pass to enter it.

A file gets its final name only when its size and hashes are correct. If no sha256 is published for it, the sha256 of the first download
is recorded in hashes.json. Every later file must match the record, even after the first one was removed.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

from platformdirs import user_cache_dir

from detector.errors import ModelFileError
from weights.atomic_files import atomic_write, file_lock, sync_folder
from weights.errors import DiskError
from weights.hub.catalogue import Entry

logger = logging.getLogger(__name__)

HASHES_FILE = "hashes.json"


def weights_folder() -> Path:
    """Return the folder of downloaded files: `weights` in BOXWRIGHT_HOME, or else in the platform's cache folder."""
    home = os.environ.get("BOXWRIGHT_HOME") or user_cache_dir("boxwright", appauthor=False)
    return Path(home).expanduser() / "weights"


def cached_path(entry: Entry) -> Path:
    """Return the path of the entry's file in the cache. The file may be missing."""
    return weights_folder() / entry.file


def move_into_cache(entry: Entry, temporary: Path, sha256: str) -> Path:
    """Give a verified file its final name in the cache, and record its sha256."""
    record_sha256(entry, sha256)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    path = cached_path(entry)
    temporary.replace(path)
    sync_folder(path.parent)
    return path


def check_file(entry: Entry, path: Path) -> str:
    """Compare a file's size and hashes with the entry's, and return its sha256 in hex.

    Raises ModelFileError if it is a different file. The message does not name the file, because the caller knows where it came from.
    """
    with path.open("rb") as file:
        if looks_like_html(file.read(512)):
            raise ModelFileError("it is an HTML page, not weights")
    check_size(entry, path)
    sha256 = file_digest(path, "sha256")
    check_sha256(entry, sha256)
    for algorithm, expected in entry.hashes.items():
        if algorithm != "sha256":
            _compare(f"published {algorithm}", file_digest(path, algorithm), expected)
    return sha256


def check_size(entry: Entry, path: Path) -> None:
    """Raise ModelFileError, as `check_file` does, if the file's size differs from the entry's."""
    size = path.stat().st_size
    if size not in entry.sizes and (entry.sizes or size > entry.max_bytes):
        raise ModelFileError(f"it has {size:,} bytes instead of {entry.sizes_text}")


def check_sha256(entry: Entry, sha256: str) -> None:
    """Raise ModelFileError, as `check_file` does, if this is not the published or recorded sha256."""
    if "sha256" in entry.hashes:
        _compare("published sha256", sha256, entry.hashes["sha256"])
    first = recorded_sha256(entry)
    if first is not None:
        record = f"sha256 recorded in {weights_folder() / HASHES_FILE} when it was first pulled"
        _compare(f"{record} (if that first file was wrong: boxwright weights remove {entry.name} --forget)", sha256, first)


def _compare(description: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise ModelFileError(f"its hash is {actual} instead of {expected}, the {description}: the file is damaged or is a different file")


def repair_hint(entry: Entry) -> str:
    """Return a sentence that explains how to replace a bad file in the cache."""
    return f"Run: boxwright weights remove {entry.name}, then pull it again."


def file_digest(path: Path, algorithm: str) -> str:
    """Return a file's hash in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def looks_like_html(start: bytes) -> bool:
    """True if the first bytes of a file are those of a web page."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def recorded_sha256(entry: Entry) -> str | None:
    """Return the sha256 recorded at the first download, if any. Raises ModelFileError if the record is damaged."""
    return _read_hashes().get(entry.name)


def record_sha256(entry: Entry, sha256: str) -> None:
    """Record the sha256 of a first download, unless one is already published or recorded."""
    path = weights_folder() / HASHES_FILE
    if "sha256" in entry.hashes or recorded_sha256(entry) is not None:
        return
    with file_lock(path):
        hashes = _read_hashes()
        if entry.name in hashes:  # another process recorded it first
            return
        _write_hashes(hashes | {entry.name: sha256})
    logger.info("no sha256 is published for %s; %s is recorded in %s, and later files must match it", entry.name, sha256, path)


def forget_sha256(entry: Entry) -> None:
    """Remove the entry's recorded sha256, so that a different file is accepted next time."""
    path = weights_folder() / HASHES_FILE
    with file_lock(path):
        hashes = _read_hashes()
        if hashes.pop(entry.name, None) is not None:
            _write_hashes(hashes)


def _write_hashes(hashes: dict[str, str]) -> None:
    path = weights_folder() / HASHES_FILE
    try:
        with atomic_write(path) as file:
            file.write((json.dumps(hashes, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror}. Check the folder and the free space of its disk.") from error


def _read_hashes() -> dict[str, str]:
    path = weights_folder() / HASHES_FILE
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
