"""From what a person calls a model to the model: a file's path, the name of one that ships, or a name of the catalogue."""

from pathlib import Path

from detector.errors import UnknownModel
from detector.spec import Model
from weights import fetch
from weights.catalogue import entries
from weights.download import Progress
from weights.embedded import EMBEDDED
from weights.model_file import load_model
from weights.pulled import load_pulled

DEFAULT = "everyday"
SUFFIX = ".safetensors"


def is_known(name_or_file: str) -> bool:
    """Whether that is a path, or the name of a model that ships or is in the catalogue."""
    path = Path(name_or_file)
    return path.suffix == SUFFIX or len(path.parts) > 1 or name_or_file in EMBEDDED or name_or_file in entries() or path.is_file()


def load(name_or_file: str | None, *, progress: Progress | None = None) -> Model:
    """The model in that file, or of that name; None is the model that ships with the package.

    A model of the catalogue that has not been pulled is pulled now; `progress` is told how far that is (see `fetch.pull`).
    Raises UnknownModel where there is none, ModelError where the file is not a sound model, FetchError where it cannot be had.
    """
    name = name_or_file or DEFAULT
    path = Path(name)
    if path.suffix == SUFFIX or len(path.parts) > 1:
        if not path.is_file():
            raise UnknownModel(f"{name}: there is no such file. `boxwright weights list` shows the models that are known by name.")
        return load_model(path)
    if name in EMBEDDED:
        return load_model(EMBEDDED[name])
    if name in entries():
        return load_pulled(entries()[name], fetch.pull(name, progress=progress))
    if path.is_file():
        return load_model(path)
    known = ", ".join((*EMBEDDED, *entries()))
    raise UnknownModel(f"there is no model {name!r}; known by name are {known}. Or give the path of a {SUFFIX} file.")
