"""From a pulled file to the model in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from detector.errors import ModelFileError
from detector.spec import Model
from weights.formats.darknet.weights import read_weights
from weights.formats.tensornets.mapping import read_tensornets
from weights.hub import cache
from weights.hub.catalogue import Entry, spec_of


def load_pulled(entry: Entry, path: Path, sha256: str | None = None) -> Model:
    """The model in the entry's file, which lies at `path` as `fetch.pull` gave it.

    Its provenance has the entry's name, licence and the file's sha256 besides what the file says. sha256: what `sha256_of` has said
    of it, if it has been asked.
    Raises ModelFileError, naming the file, where it does not hold the entry's network or is not the one published or recorded.
    """
    cache.recorded(entry)  # a damaged record is not this file's fault
    try:
        model = _read(entry, path)
    except ModelFileError as error:
        raise ModelFileError(f"{error} {cache.advice(entry)}") from error
    sha256 = sha256 or sha256_of(entry, path)
    return replace(model, provenance={**model.provenance, "catalogue": entry.name, "licence": entry.licence, "sha256": sha256})


def sha256_of(entry: Entry, path: Path) -> str:
    """The sha256 of the entry's file. Raises ModelFileError, naming the file, where it is not the one published or recorded."""
    sha256 = cache.digest(path, "sha256")
    try:
        cache.check_sha256(entry, sha256)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}. {cache.advice(entry)}") from error
    return sha256


def check_pulled(entry: Entry, path: Path) -> str:
    """The file's sha256 if it is the entry's: `cache.check`, and where no hash vouches for it yet, what it holds.

    Without that a wrong first file would be recorded, and lock the right one out. Raises ModelFileError without naming the file.
    """
    sha256 = cache.check(entry, path)
    if not entry.hashes and cache.recorded(entry) is None:
        _check_content(entry, path)
    return sha256


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
        raise ModelFileError(f"it holds no such network: {str(error).removeprefix(f'{path}: ').rstrip('.')}") from error
    for name, array in arrays.items():
        if name.endswith("/kernel") and np.ptp(array) == 0:
            raise ModelFileError(f"it holds no such network: {name!r} is the same number throughout")
