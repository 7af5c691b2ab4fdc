"""From a pulled file to the model in it."""

from dataclasses import replace
from pathlib import Path

from detector.spec import Model
from weights import cache
from weights.catalogue import Entry, spec_of
from weights.darknet import read_weights
from weights.tensornets import read_tensornets


def load_pulled(entry: Entry, path: Path) -> Model:
    """The model in the entry's file, which lies at `path` as `fetch.pull` gave it.

    Its provenance has the entry's name, licence and sha256 besides what the file says.
    Raises ModelFileError, naming the file, where it does not hold the entry's network.
    """
    spec = spec_of(entry)
    if entry.format == "tensornets":
        model = read_tensornets(path, spec, name=entry.name)
    else:
        arrays, provenance = read_weights(path, spec.network)
        model = Model(entry.name, spec, arrays, provenance)
    sha256 = entry.hashes.get("sha256") or cache.recorded(entry) or cache.digest(path, "sha256")
    return replace(model, provenance={**model.provenance, "catalogue": entry.name, "licence": entry.licence, "sha256": sha256})
