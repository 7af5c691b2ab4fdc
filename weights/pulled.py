"""From a pulled file to the model in it."""

from pathlib import Path

from detector.errors import ModelFileError
from detector.spec import Model
from weights import cache
from weights.catalogue import Entry, spec_of
from weights.darknet import read_weights


def load_pulled(entry: Entry, path: Path) -> Model:
    """The model in the entry's file, which lies at `path` as `fetch.pull` gave it.

    Its provenance has the entry's name, licence and sha256 besides what the file says.
    Raises ModelFileError, naming the file, where it does not hold the entry's network.
    """
    if entry.format != "darknet":
        raise ModelFileError(f"{path} is a file of {entry.format}'s; here only Darknet's .weights are read.")
    spec = spec_of(entry)
    arrays, provenance = read_weights(path, spec.network)
    sha256 = entry.hashes.get("sha256") or cache.recorded(entry) or cache.digest(path, "sha256")
    return Model(entry.name, spec, arrays, provenance | {"catalogue": entry.name, "licence": entry.licence, "sha256": sha256})
