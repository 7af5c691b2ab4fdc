"""Pulling a model of the catalogue: from a mirror, from its own addresses, or from a file on this machine.

    BOXWRIGHT_HOME     the cache folder, instead of the platform's
    BOXWRIGHT_MIRROR   base addresses that are tried first, separated by blanks; the file's name is appended
    BOXWRIGHT_OFFLINE  1: never connect; say what to do instead

Proxies are found by the usual variables (HTTPS_PROXY, NO_PROXY).
"""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from detector.errors import ModelFileError, SettingError
from weights import cache
from weights.catalogue import Entry, entries, entry_of
from weights.download import CHUNK, Progress, download
from weights.errors import DiskError, FetchError
from weights.partial import Partial
from weights.reading import opened

log = logging.getLogger(__name__)


def pull(name: str, *, source: Path | None = None, progress: Progress | None = None) -> Path:
    """The file of that model of the catalogue, in the cache; fetched and verified if it is not there yet.

    source: a local file to take instead of a download, held to the same size and hash.
    Raises UnknownModel, SettingError for a mirror that is no address, FetchError where the file cannot be had (DiskError where it
    cannot be stored), ModelFileError for a source that cannot be read or is another file. Nothing is then under the file's name that
    was not before.
    """
    return fetch(entry_of(name), source=source, progress=progress)


def fetch(entry: Entry, *, source: Path | None = None, progress: Progress | None = None) -> Path:
    """As `pull`, for an entry that need not be in the catalogue."""
    path = cache.path_of(entry)
    if path.exists() and source is None:  # it has its name only because it is whole
        return path
    with cache.locked(path):
        cache.recorded(entry)  # a damaged record is found before anything is fetched
        if source is not None:
            return _copy(entry, source, progress)
        if path.exists():  # another process was quicker
            return path
        if offline():
            raise FetchError(_offline_sentence(entry))
        return _download(entry, progress)


def offline() -> bool:
    """Whether BOXWRIGHT_OFFLINE forbids connections."""
    return os.environ.get("BOXWRIGHT_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def mirrors() -> tuple[str, ...]:
    """The base addresses in BOXWRIGHT_MIRROR. Raises SettingError where one is no http address."""
    bases = tuple(os.environ.get("BOXWRIGHT_MIRROR", "").split())
    for base in bases:
        if not base.startswith(("http://", "https://")):
            raise SettingError(
                f"BOXWRIGHT_MIRROR holds {base!r}; a mirror's address begins with http:// or https://. For a file use --from."
            )
    return bases


def _offline_sentence(entry: Entry) -> str:
    return (
        f"{entry.name} is not in {cache.folder()}, and BOXWRIGHT_OFFLINE forbids fetching it. On a machine with a connection get "
        f"{entry.addresses[0]}, bring it here and run: {_pull_from(entry)}. "
        f"Or unset BOXWRIGHT_OFFLINE and set BOXWRIGHT_MIRROR to a server within reach that has {entry.file}."
    )


def _pull_from(entry: Entry) -> str:
    return f"boxwright weights pull {entry.name} --from {entry.file}"


def _beside(entry: Entry, suffix: str) -> Partial:
    return Partial(cache.folder() / f"{entry.file}.{suffix}")


def _download(entry: Entry, progress: Progress | None) -> Path:
    partial = _beside(entry, "partial")
    addresses = [f"{base.rstrip('/')}/{entry.file}" for base in mirrors()] + list(entry.addresses)
    began = partial.note.get("address")
    reasons = []
    for address in sorted(addresses, key=lambda address: address != began):  # first the one that has sent a part already
        try:
            return _from_address(entry, address, partial, progress)
        except DiskError:
            raise
        except (FetchError, ModelFileError) as error:
            reasons.append(f"  {_without_password(address)}: {error}")
            log.info("%s from%s", entry.name, reasons[-1])
    again = f"; the {partial.size:,} bytes that came are kept" if partial.size else ""
    raise FetchError(
        f"{entry.name} could not be fetched.\n" + "\n".join(reasons) + f"\nRun it again when the connection is better{again}. "
        f"Or set BOXWRIGHT_MIRROR to a server that has {entry.file}, or get the file yourself and run: {_pull_from(entry)}"
    )


def _without_password(address: str) -> str:
    """For messages: a mirror's address may have one."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _from_address(entry: Entry, address: str, partial: Partial, progress: Progress | None) -> Path:
    resumed = partial.size > 0 and partial.note.get("address") == address
    download(entry, address, partial, progress)
    try:
        return _adopt(entry, partial)
    except ModelFileError as error:
        if not resumed:
            raise
        log.info("%s, of which a part was there already: %s; fetching all of it", entry.name, error)
    download(entry, address, partial, progress)
    return _adopt(entry, partial)


def _adopt(entry: Entry, partial: Partial) -> Path:
    try:
        with partial.disk_errors():
            path = cache.adopt(entry, partial.path)
    except ModelFileError:
        partial.discard()
        raise
    partial.discard()  # the file has its own name now; the note goes
    return path


def _copy(entry: Entry, source: Path, progress: Progress | None) -> Path:
    copy = _beside(entry, "copy")
    with opened(source) as (original, size):
        if size > entry.largest:
            raise ModelFileError(f"{source} is not {entry.file}: it has {size:,} bytes instead of {entry.sizes_text}.")
        copy.check_space(size)
        with copy.disk_errors(), copy.path.open("wb") as file:
            shutil.copyfileobj(original, file, CHUNK)
    if progress:
        progress(size, size)
    try:
        return _adopt(entry, copy)
    except ModelFileError as error:
        raise ModelFileError(f"{source} is not {entry.file}: {error}.") from error


@dataclass(frozen=True)
class Verified:
    """A pulled file that is what it should be."""

    path: Path
    size: int  # bytes
    sha256: str  # in hex
    against: tuple[str, ...]  # what it was compared with: "published sha1", "recorded sha256"; empty: its size alone, until now


def verify(name: str) -> Verified:
    """Read the pulled file again and compare it with its published hashes and with the one recorded when it was first seen.

    Where there is neither, the hash seen now is recorded.
    Raises UnknownModel, FetchError where it was not pulled, ModelFileError where it is not what it should be.
    """
    entry = entry_of(name)
    path = cache.path_of(entry)
    if not path.exists():
        raise FetchError(f"{name} is not in {cache.folder()}; there is nothing to verify. Run: boxwright weights pull {name}")
    against = [f"published {algorithm}" for algorithm in entry.hashes]
    if cache.recorded(entry) is not None:
        against.append("recorded sha256")
    try:
        sha256 = cache.check(entry, path)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}. Run: boxwright weights remove {name}, then pull it again.") from error
    cache.remember(entry, sha256)
    return Verified(path, path.stat().st_size, sha256, tuple(against))


def pulled() -> dict[str, Path]:
    """Name and file of every model of the catalogue that is in the cache."""
    return {name: path for name, entry in entries().items() if (path := cache.path_of(entry)).exists()}


def remove(name: str) -> bool:
    """Delete the model's file from the cache, and what there is of an unfinished download; its recorded hash stays.

    Returns whether there was a file. Raises UnknownModel.
    """
    entry = entry_of(name)
    path = cache.path_of(entry)
    if not path.parent.exists():
        return False
    with cache.locked(path):
        _beside(entry, "partial").discard()
        there = path.exists()
        path.unlink(missing_ok=True)
    return there
