"""Find a model by the path of its file, the name of a shipped model, or a name in the catalogue."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from detector.errors import UnknownModel
from detector.messages import did_you_mean
from detector.network.spec import Model
from weights.embedded import EMBEDDED
from weights.formats.safetensors import content_checksum, load_memory, load_model
from weights.hub import fetch
from weights.hub.catalogue import Entry, entries
from weights.hub.partial_file import ProgressCallback
from weights.hub.pulled import load_pulled, pulled_sha256

DEFAULT_MODEL = "everyday"
MODEL_SUFFIX = ".safetensors"
BEST_MODEL = "best.safetensors"  # The model in a run folder of `boxwright finetune`.


@dataclass(frozen=True)
class ModelSource:
    """The local file of a model."""

    path: Path
    entry: Entry | None = None  # the catalogue entry; None for a model file in our own format
    name: str | None = None  # replaces the name in the file, for the 8-bit version of a model

    def content_key(self) -> str:
        """Return a key that identifies the content of the file. Raises ModelFileError for a damaged file."""
        return content_checksum(self.path) if self.entry is None else f"{self.entry.name} {pulled_sha256(self.entry, self.path)}"

    def load(self, content_key: str | None = None) -> Model:
        """Load and check the model.

        Args:
            content_key: The result of `content_key`, if the caller has it. It saves hashing a catalogue file again.

        Returns:
            The model.

        Raises:
            ModelError: The file is damaged or not a model.
        """
        if self.entry is None:
            model = load_model(self.path)
            return model if self.name is None else replace(model, name=self.name)
        return load_pulled(self.entry, self.path, content_key.rpartition(" ")[2] if content_key else None)

    def load_memory(self) -> dict[str, bytes] | None:
        """Load and check the entries of the model's memory. None: it has none. Raises ModelFileError if it is damaged."""
        return load_memory(self.path) if self.entry is None else None


def is_known_model(name_or_file: str) -> bool:
    """True for a path, and for the name of a model that ships or is in the catalogue."""
    path = Path(name_or_file)
    return path.suffix == MODEL_SUFFIX or len(path.parts) > 1 or name_or_file in EMBEDDED or name_or_file in entries() or path.is_file()


def find_model(name_or_file: str | None, *, on_progress: ProgressCallback | None = None) -> ModelSource:
    """Find the file of a model. A catalogue model that is not in the cache is pulled first.

    Args:
        name_or_file: A name or a path. None means the default model, which ships with the package.
        on_progress: Called during a download; see `fetch.pull`.

    Returns:
        The file.

    Raises:
        UnknownModel: There is no such name or file.
        FetchError: The file cannot be downloaded.
    """
    name = name_or_file or DEFAULT_MODEL
    path = Path(name)
    if path.suffix == MODEL_SUFFIX or len(path.parts) > 1:
        return ModelSource(_checked_file(path))
    if name in EMBEDDED:
        return ModelSource(EMBEDDED[name])
    if name in entries():
        return ModelSource(fetch.pull(name, on_progress=on_progress), entries()[name])
    if path.exists():
        return ModelSource(_checked_file(path))
    known = (*EMBEDDED, *entries())
    raise UnknownModel(
        f"there is no model {name!r}.{did_you_mean(name, known)} Known names: {', '.join(known)}. "
        f"You can also give the path of a {MODEL_SUFFIX} file."
    )


def check_model(name_or_file: str | None) -> None:
    """Raise UnknownModel if `find_model` would. A model of the catalogue is not downloaded."""
    if name_or_file not in entries():
        find_model(name_or_file)


def _checked_file(path: Path) -> Path:
    """Return the path if it is a file. Otherwise raise UnknownModel, with the file to use instead if there is one."""
    if path.is_dir():
        best = path / BEST_MODEL
        if best.is_file():
            raise UnknownModel(f"{path} is a run folder. Use its model: {best}")
        raise UnknownModel(f"{path} is a folder, not a model. Give the path of a {MODEL_SUFFIX} file.")
    if not path.exists():
        similar = get_close_matches(path.name, [other.name for other in path.parent.glob(f"*{MODEL_SUFFIX}")], n=1)
        hint = (
            f"Did you mean {path.parent / similar[0]}?" if similar else "`boxwright weights list` shows the models that are known by name."
        )
        raise UnknownModel(f"{path}: there is no such file. {hint}")
    return path


def resolve_model(name_or_file: str | None, *, on_progress: ProgressCallback | None = None) -> Model:
    """Find a model with `find_model` and load it. Also raises ModelError if the file is damaged or not a model."""
    return find_model(name_or_file, on_progress=on_progress).load()
