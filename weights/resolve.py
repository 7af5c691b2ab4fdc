"""From what a person calls a model to the model: a file's path, or a name."""

from pathlib import Path

from detector.errors import UnknownModel
from detector.spec import Model
from weights.model_file import load_model

SUFFIX = ".safetensors"
MAKE_ONE = "`boxwright weights import` makes one of Darknet's files."


def load(name_or_file: str | None) -> Model:
    """The model in that file, or of that name.

    Raises UnknownModel where there is none, ModelError where the file is not a sound model.
    """
    if name_or_file is None:
        raise UnknownModel(f"no model is named, and until one ships with the package there is no default: --model FILE{SUFFIX}. {MAKE_ONE}")
    path = Path(name_or_file)
    if path.is_file():
        return load_model(path)
    if path.suffix == SUFFIX or len(path.parts) > 1:
        raise UnknownModel(f"{name_or_file}: there is no such file. {MAKE_ONE}")
    raise UnknownModel(f"there is no model {name_or_file!r}; give the path of a {SUFFIX} file. {MAKE_ONE}")
