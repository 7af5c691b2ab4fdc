"""Files in the cache: load a model from one, verify them, list them and remove them."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detector.errors import ModelFileError
from detector.network.spec import Model
from weights.atomic_files import file_lock
from weights.errors import DiskError, FetchError
from weights.formats.darknet.weights import read_weights
from weights.formats.tensornets.mapping import read_tensornets
from weights.hub import cache
from weights.hub.catalogue import Entry, entries, spec_of
from weights.hub.partial_file import partial_for

logger = logging.getLogger(__name__)


def load_pulled(entry: Entry, path: Path, sha256: str | None = None) -> Model:
    """Load the model from a catalogue file.

    The provenance contains what the file format records, the entry's name, its licence and the file's sha256.

    Args:
        entry: The catalogue entry of the file.
        path: The path that `fetch.pull` returned.
        sha256: The result of `pulled_sha256`, if the caller has it. Otherwise the file is hashed here.

    Returns:
        The model.

    Raises:
        ModelFileError: The file does not contain the entry's network, or its hash differs from the published or recorded one.
    """
    cache.recorded_sha256(entry)  # a damaged hashes.json is reported first, because removing this file would not repair it
    try:
        model = _read(entry, path)
    except ModelFileError as error:
        raise ModelFileError(f"{error} {cache.repair_hint(entry)}") from error
    sha256 = sha256 or pulled_sha256(entry, path)
    return replace(model, provenance={**model.provenance, "catalogue": entry.name, "licence": entry.licence, "sha256": sha256})


def pulled_sha256(entry: Entry, path: Path) -> str:
    """Return the sha256 of the entry's file. Raises ModelFileError if it differs from the published or recorded one."""
    sha256 = cache.file_digest(path, "sha256")
    try:
        cache.check_sha256(entry, sha256)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}. {cache.repair_hint(entry)}") from error
    return sha256


def check_pulled(entry: Entry, path: Path) -> str:
    """Check that a file has the content that the entry describes, and return its sha256.

    If no hash is published or recorded, the content is checked too. Otherwise the hash of a wrong first file would be recorded, and the
    right file would be rejected from then on. Raises ModelFileError, which does not name the file, if it is a different file.
    """
    sha256 = cache.check_file(entry, path)
    if not entry.hashes and cache.recorded_sha256(entry) is None:
        _check_content(entry, path)
    return sha256


def list_pulled() -> dict[str, Path]:
    """Return name and file of every catalogue model in the cache."""
    return {name: path for name, entry in entries().items() if (path := cache.cached_path(entry)).exists()}


@dataclass(frozen=True)
class VerifiedFile:
    """Result of `verify_pulled`: a file with the right content."""

    path: Path
    size: int  # bytes
    sha256: str  # in hex
    checked_against: tuple[str, ...]  # "published sha1", "recorded sha256"; empty if only size and layout could be checked


def verify_pulled(entry: Entry) -> VerifiedFile:
    """Read the entry's file in the cache again, and compare it with its published hashes and its recorded hash.

    If no hash is published or recorded, the current one is recorded if possible. Raises FetchError if the file is not in
    the cache, and ModelFileError if the file has the wrong content.
    """
    path = cache.cached_path(entry)
    if not path.exists():
        raise FetchError(
            f"{entry.name} is not in {cache.weights_folder()}; there is nothing to verify. Run: boxwright weights pull {entry.name}"
        )
    checked_against = [f"published {algorithm}" for algorithm in entry.hashes]
    if cache.recorded_sha256(entry) is not None:
        checked_against.append("recorded sha256")
    try:
        sha256 = check_pulled(entry, path)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}. {cache.repair_hint(entry)}") from error
    try:
        cache.record_sha256(entry, sha256)
    except DiskError as error:  # the file itself is correct
        logger.warning("the sha256 of %s could not be recorded: %s", entry.name, error)
    return VerifiedFile(path, path.stat().st_size, sha256, tuple(checked_against))


def remove_pulled(entry: Entry, *, forget: bool = False) -> bool:
    """Delete the entry's file from the cache, together with unfinished downloads and copies.

    Args:
        entry: The catalogue entry.
        forget: Delete the recorded hash too, so that a different file is accepted next time.

    Returns:
        True if there was a file.

    Raises:
        DiskError: The file cannot be deleted.
    """
    path = cache.cached_path(entry)
    if not path.parent.exists():
        return False
    with file_lock(path):
        try:
            existed = path.exists()
            path.unlink(missing_ok=True)
            partial_for(path, "partial").discard()
            partial_for(path, "copy").discard()
        except OSError as error:
            raise DiskError(f"{path} cannot be removed: {error.strerror}. Check the folder and its permissions.") from error
        if forget:
            cache.forget_sha256(entry)
    return existed


def _read(entry: Entry, path: Path) -> Model:
    spec = spec_of(entry)
    if entry.format == "tensornets":
        return read_tensornets(path, spec, name=entry.name)
    arrays, provenance = read_weights(path, spec.network)
    return Model(entry.name, spec, arrays, provenance)


def _check_content(entry: Entry, path: Path) -> None:
    try:
        arrays = _read(entry, path).arrays
    except ModelFileError as error:
        raise ModelFileError(f"it does not contain this network: {str(error).removeprefix(f'{path}: ').rstrip('.')}") from error
    for name, array in arrays.items():
        if name.endswith("/kernel") and np.ptp(array) == 0:
            raise ModelFileError(f"it does not contain this network: all values of {name!r} are equal")
