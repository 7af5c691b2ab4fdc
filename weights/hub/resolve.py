"""From what a person calls a model to the model: a file's path, the name of one that ships, or a name of the catalogue."""

from dataclasses import dataclass
from pathlib import Path

from detector.errors import UnknownModel
from detector.spec import Model
from weights.embedded import EMBEDDED
from weights.formats.safetensors import content_of, load_model
from weights.hub import fetch
from weights.hub.catalogue import Entry, entries
from weights.hub.partial_file import Progress
from weights.hub.pulled import load_pulled, sha256_of

DEFAULT = "everyday"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Source:
    """Where a model lies on this machine."""

    path: Path
    entry: Entry | None = None  # of the catalogue; None: one of our model files

    def content(self) -> str:
        """What tells its content from any other's, without reading more than that takes. Raises ModelFileError for a damaged file."""
        return content_of(self.path) if self.entry is None else f"{self.entry.name} {sha256_of(self.entry, self.path)}"

    def load(self, content: str | None = None) -> Model:
        """The model, read and checked. content: what `content` said, if it has been asked. Raises ModelError."""
        if self.entry is None:
            return load_model(self.path)
        return load_pulled(self.entry, self.path, content.rpartition(" ")[2] if content else None)


def is_known(name_or_file: str) -> bool:
    """Whether that is a path, or the name of a model that ships or is in the catalogue."""
    path = Path(name_or_file)
    return path.suffix == SUFFIX or len(path.parts) > 1 or name_or_file in EMBEDDED or name_or_file in entries() or path.is_file()


def find(name_or_file: str | None, *, progress: Progress | None = None) -> Source:
    """Where the model in that file, or of that name, lies; None is the model that ships with the package.

    A model of the catalogue that has not been pulled is pulled now; `progress` is told how far that is (see `fetch.pull`).
    Raises UnknownModel where there is none, FetchError where it cannot be had.
    """
    name = name_or_file or DEFAULT
    path = Path(name)
    if path.suffix == SUFFIX or len(path.parts) > 1:
        if not path.is_file():
            raise UnknownModel(f"{name}: there is no such file. `boxwright weights list` shows the models that are known by name.")
        return Source(path)
    if name in EMBEDDED:
        return Source(EMBEDDED[name])
    if name in entries():
        return Source(fetch.pull(name, progress=progress), entries()[name])
    if path.is_file():
        return Source(path)
    known = ", ".join((*EMBEDDED, *entries()))
    raise UnknownModel(f"there is no model {name!r}; known by name are {known}. Or give the path of a {SUFFIX} file.")


def load(name_or_file: str | None, *, progress: Progress | None = None) -> Model:
    """The model that `find` finds, which see. Raises ModelError, too, where the file is not a sound model."""
    return find(name_or_file, progress=progress).load()
