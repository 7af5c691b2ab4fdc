"""Pulling a model of the catalogue: from a mirror, from its own addresses, or from a file on this machine.

Where a download looks is in `addresses`, where files lie in `cache`, what is done with those that are there in `upkeep`.
"""

import logging
import shutil
from pathlib import Path

from detector.errors import ModelFileError
from weights.errors import DiskError, FetchError
from weights.formats.bounded_io import opened
from weights.hub import cache
from weights.hub.catalogue import Entry, entry_of
from weights.hub.mirrors import mirrors, offline, without_password
from weights.hub.partial_file import CHUNK, Partial, Progress, beside
from weights.hub.pulled import check_pulled

log = logging.getLogger(__name__)


def pull(name: str, *, source: Path | None = None, progress: Progress | None = None) -> Path:
    """The file of that model of the catalogue, in the cache; fetched and verified if it is not there yet.

    source: a local file to take instead of a download, held to the same size and hash.
    Raises UnknownModel, SettingError for a mirror that is no address, FetchError where the file cannot be had (DiskError where it
    cannot be stored), ModelFileError for a source that cannot be read or is another file, and for a file in the cache that was cut
    since. Nothing is then under the file's name that was not before.
    """
    return fetch(entry_of(name), source=source, progress=progress)


def fetch(entry: Entry, *, source: Path | None = None, progress: Progress | None = None) -> Path:
    """As `pull`, for an entry that need not be in the catalogue."""
    path = cache.path_of(entry)
    if path.exists() and source is None:
        return _whole(entry, path)
    with cache.locked(path):
        cache.recorded(entry)  # a damaged record is found before anything is fetched
        if source is not None:
            return _copy(entry, source, progress)
        if path.exists():  # another process was quicker
            return _whole(entry, path)
        if offline():
            raise FetchError(_offline_sentence(entry))
        return _download(entry, progress)


def _whole(entry: Entry, path: Path) -> Path:
    """It has its name only because it was whole; here it must have its size still, and `load_pulled` compares its hash."""
    try:
        cache.check_size(entry, path)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}. {cache.advice(entry)}") from error
    return path


def _offline_sentence(entry: Entry) -> str:
    return (
        f"{entry.name} is not in {cache.folder()}, and BOXWRIGHT_OFFLINE forbids fetching it. On a machine with a connection get "
        f"{entry.addresses[0]}, bring it here and run: {_pull_from(entry)}. "
        f"Or unset BOXWRIGHT_OFFLINE and set BOXWRIGHT_MIRROR to a server within reach that has {entry.file}."
    )


def _pull_from(entry: Entry) -> str:
    return f"boxwright weights pull {entry.name} --from {entry.file}"


def _download(entry: Entry, progress: Progress | None) -> Path:
    partial = beside(cache.path_of(entry), "partial")
    addresses = [f"{base.rstrip('/')}/{entry.file}" for base in mirrors()] + list(entry.addresses)
    addresses.sort(key=lambda address: not partial.is_from(address))  # first the one that has sent a part already
    reasons: list[str] = []
    for address in addresses:
        if reasons:
            log.info("%s: %s; trying the next address", entry.name, reasons[-1])
        try:
            return _from_address(entry, address, partial, progress)
        except DiskError:
            raise
        except (FetchError, ModelFileError) as error:
            reasons.append(f"{without_password(address)}: {error}")
    again = f"; the {partial.size:,} bytes that came are kept" if partial.size else ""
    raise FetchError(
        f"{entry.name} could not be fetched.\n"
        + "".join(f"  {reason}\n" for reason in reasons)
        + f"Run it again when the connection is better{again}. "
        f"Or set BOXWRIGHT_MIRROR to a server that has {entry.file}, or get the file yourself and run: {_pull_from(entry)}"
    )


def _from_address(entry: Entry, address: str, partial: Partial, progress: Progress | None) -> Path:
    from weights.hub.http_download import download  # brings `requests`, for which a start that downloads nothing need not wait

    resumed = partial.size > 0 and partial.is_from(address)
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
            path = cache.adopt(entry, partial.path, check_pulled(entry, partial.path))
    except ModelFileError:
        partial.discard()
        raise
    partial.discard()  # the file has its own name now; the note goes
    return path


def _copy(entry: Entry, source: Path, progress: Progress | None) -> Path:
    copy = beside(cache.path_of(entry), "copy")
    try:
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
    except BaseException:  # an interrupted copy is of no use to anybody
        copy.discard()
        raise
