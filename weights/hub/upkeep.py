"""What lies in the cache: which models are there, whether they are sound still, and away with them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from detector.errors import ModelFileError
from weights.errors import DiskError, FetchError
from weights.hub import cache
from weights.hub.catalogue import Entry, entries
from weights.hub.partial_file import beside
from weights.hub.pulled import check_pulled

log = logging.getLogger(__name__)


def pulled() -> dict[str, Path]:
    """Name and file of every model of the catalogue that is in the cache."""
    return {name: path for name, entry in entries().items() if (path := cache.path_of(entry)).exists()}


@dataclass(frozen=True)
class Verified:
    """A pulled file that is what it should be."""

    path: Path
    size: int  # bytes
    sha256: str  # in hex
    against: tuple[str, ...]  # what it was compared with: "published sha1", "recorded sha256"; empty: its size and layout, until now


def verify(entry: Entry) -> Verified:
    """Read the pulled file again and compare it with its published hashes and with the one recorded when it was first seen.

    Where there is neither, the hash seen now is recorded, if the cache can be written.
    Raises FetchError where it was not pulled, ModelFileError where it is not what it should be.
    """
    path = cache.path_of(entry)
    if not path.exists():
        raise FetchError(f"{entry.name} is not in {cache.folder()}; there is nothing to verify. Run: boxwright weights pull {entry.name}")
    against = [f"published {algorithm}" for algorithm in entry.hashes]
    if cache.recorded(entry) is not None:
        against.append("recorded sha256")
    try:
        sha256 = check_pulled(entry, path)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}. {cache.advice(entry)}") from error
    _remember(entry, sha256)
    return Verified(path, path.stat().st_size, sha256, tuple(against))


def _remember(entry: Entry, sha256: str) -> None:
    """The file is no less sound where its hash cannot be recorded."""
    try:
        cache.remember(entry, sha256)
    except (DiskError, OSError) as error:
        log.warning("the sha256 of %s could not be recorded: %s", entry.name, error)


def remove(entry: Entry, *, forget: bool = False) -> bool:
    """Delete the model's file from the cache, and what there is of an unfinished download or copy.

    forget: its recorded hash too, so that another file may take its place; otherwise that stays.
    Returns whether there was a file. Raises DiskError where it cannot be deleted.
    """
    path = cache.path_of(entry)
    if not path.parent.exists():
        return False
    with cache.locked(path):
        try:
            there = path.exists()
            path.unlink(missing_ok=True)
            beside(path, "partial").discard()
            beside(path, "copy").discard()
        except OSError as error:
            raise DiskError(f"{path} cannot be removed: {error.strerror}. Check the folder and its rights.") from error
        if forget:
            cache.forget(entry)
    return there
