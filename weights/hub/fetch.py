"""Pull a catalogue model into the cache: from a mirror, from its own addresses, or from a local file.

`mirrors` reads the settings, `http_download` transfers one file, `cache` stores it, and `pulled` manages stored files.
"""

import logging
import shutil
from pathlib import Path

from detector.errors import ModelFileError
from weights.atomic_files import file_lock
from weights.errors import DiskError, FetchError
from weights.formats.bounded_io import open_regular_file
from weights.hub import cache
from weights.hub.catalogue import Entry, entry_of
from weights.hub.mirrors import is_offline, mirror_addresses, redact_password
from weights.hub.partial_file import CHUNK_BYTES, PartialFile, ProgressCallback, partial_for
from weights.hub.pulled import check_pulled

logger = logging.getLogger(__name__)


def pull(name: str, *, source: Path | None = None, on_progress: ProgressCallback | None = None) -> Path:
    """Return the file of a catalogue model in the cache. Fetch and verify it first if it is not there.

    Args:
        name: The model's name in the catalogue.
        source: A local file to copy instead of downloading. Its size and hashes must also match the entry.
        on_progress: Called with the number of bytes so far and the total.

    Raises:
        UnknownModel: The catalogue has no such model.
        SettingError: BOXWRIGHT_MIRROR is not an address.
        FetchError: The file cannot be obtained; DiskError if it cannot be stored.
        ModelFileError: `source` cannot be read or is a different file, or the file in the cache is truncated.
    """
    return fetch_entry(entry_of(name), source=source, on_progress=on_progress)


def fetch_entry(entry: Entry, *, source: Path | None = None, on_progress: ProgressCallback | None = None) -> Path:
    """Pull the file of an entry, like `pull`. The entry does not have to be in the catalogue."""
    path = cache.cached_path(entry)
    if path.exists() and source is None:
        return _checked_size(entry, path)
    with file_lock(path):
        cache.recorded_sha256(entry)  # a damaged hashes.json is reported before anything is fetched
        if source is not None:
            return _copy(entry, source, on_progress)
        if path.exists():  # another process fetched it first
            return _checked_size(entry, path)
        if is_offline():
            raise FetchError(_offline_message(entry))
        return _download(entry, on_progress)


def _checked_size(entry: Entry, path: Path) -> Path:
    """Check only the size: the file was complete when it got its name, and `load_pulled` compares the hash."""
    try:
        cache.check_size(entry, path)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}. {cache.repair_hint(entry)}") from error
    return path


def _offline_message(entry: Entry) -> str:
    return (
        f"{entry.name} is not in {cache.weights_folder()}, and BOXWRIGHT_OFFLINE forbids fetching it. "
        f"On a machine with internet access, get {entry.addresses[0]}, copy it to this machine and run: {_pull_from_file(entry)}. "
        f"Or unset BOXWRIGHT_OFFLINE and set BOXWRIGHT_MIRROR to a reachable server that has {entry.file}."
    )


def _pull_from_file(entry: Entry) -> str:
    return f"boxwright weights pull {entry.name} --from {entry.file}"


def _download(entry: Entry, on_progress: ProgressCallback | None) -> Path:
    partial = partial_for(cache.cached_path(entry), "partial")
    addresses = [f"{base.rstrip('/')}/{entry.file}" for base in mirror_addresses()] + list(entry.addresses)
    addresses.sort(key=lambda address: not partial.is_from(address))  # the address that already sent a part comes first
    reasons: list[str] = []
    for address in addresses:
        if reasons:
            logger.info("%s: %s; trying the next address", entry.name, reasons[-1])
        try:
            return _download_from(entry, address, partial, on_progress)
        except DiskError:
            raise
        except (FetchError, ModelFileError) as error:
            reasons.append(f"{redact_password(address)}: {error}")
    resumable = f"; it continues after the {partial.size:,} bytes that have arrived" if partial.size else ""
    raise FetchError(
        f"{entry.name} could not be fetched.\n"
        + "".join(f"  {reason}\n" for reason in reasons)
        + f"Run the command again when the connection is better{resumable}. "
        f"Or set BOXWRIGHT_MIRROR to a server that has {entry.file}, or get the file yourself and run: {_pull_from_file(entry)}"
    )


def _download_from(entry: Entry, address: str, partial: PartialFile, on_progress: ProgressCallback | None) -> Path:
    from weights.hub.http_download import download  # imports `requests`, which a start without a download does not need

    resumed = partial.size > 0 and partial.is_from(address)
    download(entry, address, partial, on_progress)
    try:
        return _verify_and_move(entry, partial)
    except ModelFileError as error:
        if not resumed:
            raise
        logger.info("%s, resumed from an earlier download: %s; downloading the whole file again", entry.name, error)
    download(entry, address, partial, on_progress)
    return _verify_and_move(entry, partial)


def _verify_and_move(entry: Entry, partial: PartialFile) -> Path:
    try:
        with partial.raising_disk_errors():
            path = cache.move_into_cache(entry, partial.path, check_pulled(entry, partial.path))
    except ModelFileError:
        partial.discard()
        raise
    partial.discard()  # the downloaded file has moved; this deletes the file about its origin
    return path


def _copy(entry: Entry, source: Path, on_progress: ProgressCallback | None) -> Path:
    copy = partial_for(cache.cached_path(entry), "copy")
    try:
        with open_regular_file(source) as (original, size):
            if size > entry.max_bytes:
                raise ModelFileError(f"{source} is not {entry.file}: it has {size:,} bytes instead of {entry.sizes_text}.")
            copy.check_space(size)
            with copy.raising_disk_errors(), copy.path.open("wb") as file:
                shutil.copyfileobj(original, file, CHUNK_BYTES)
        if on_progress:
            on_progress(size, size)
        try:
            return _verify_and_move(entry, copy)
        except ModelFileError as error:
            raise ModelFileError(f"{source} is not {entry.file}: {error}.") from error
    except BaseException:  # a copy is never resumed, so a partial one is useless
        copy.discard()
        raise
