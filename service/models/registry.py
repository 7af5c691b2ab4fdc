"""The models that are served, by name and version."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from detector.errors import UnknownModel
from service.errors import NoModel
from service.models.loaded_model import LoadedModel

MODEL_RETRY_AFTER = 5  # Seconds. The model folder is scanned every few seconds.


@dataclass(frozen=True)
class RejectedVersion:
    """A version in the model folder that cannot be served."""

    name: str
    version: str | None  # None: the whole model
    why: str  # one sentence
    since: datetime
    out_of_memory: bool = False  # the file is valid, but the model does not fit into the memory limit


class Registry:
    """The served models. One thread changes the registry and any thread reads it; each change is atomic."""

    def __init__(self, models: Sequence[LoadedModel] = (), *, default: str | None = None) -> None:
        """Create a registry.

        Args:
            models: Models that are always served, unless the model folder has a model of the same name.
            default: Name of the model for requests that name none; it may be loaded later. If None: the first of `models`, else the
                alphabetically first name.

        Raises:
            ValueError: Two models have the same name.
        """
        self._fixed = {model.name: (model,) for model in models}
        if len(self._fixed) < len(models):
            raise ValueError(f"model names must be unique, got {[model.name for model in models]}.")
        self._default = default or next(iter(self._fixed), None)
        self._from_folder: dict[str, tuple[LoadedModel, ...]] = {}
        self._served: Mapping[str, tuple[LoadedModel, ...]] = self._fixed
        self.rejected: Collection[RejectedVersion] = ()
        self.loading: tuple[str, str] | None = None  # name and version
        self.load_count = 0  # versions loaded from the folder so far
        self.rejection_count = 0

    def __iter__(self) -> Iterator[LoadedModel]:
        """Iterate over the newest version of each model, the default model first."""
        served = self._served
        default = self._default_in(served)
        return iter([served[name][0] for name in sorted(served, key=lambda name: name != default)])

    @property
    def loaded(self) -> list[LoadedModel]:
        """All loaded versions of all models."""
        return [model for versions in self._served.values() for model in versions]

    @property
    def default_name(self) -> str | None:
        """Name of the default model, which may not be loaded yet."""
        return self._default_in(self._served)

    @property
    def default(self) -> LoadedModel:
        """The model for requests that name none. Raises NoModel if it is not loaded."""
        served = self._served
        name = self._default_in(served)
        if name is None or name not in served:
            missing = f"model {name[:80]!r}" if name else "model"
            raise NoModel(f"No {missing} is loaded yet. Add one to the model folder with 'boxwright models add'.", MODEL_RETRY_AFTER)
        return served[name][0]

    def get(self, name: str | None, version: str | None = None) -> LoadedModel:
        """Return a model; None selects the default model and the newest version. Raises UnknownModel or NoModel."""
        if name is None:
            return self.default
        versions = self.versions(name)
        if not versions:
            known = ", ".join(self._served) or "no models yet"
            raise UnknownModel(f"Unknown model {name[:80]!r}. This service has {known}. {self._rejection(name)}See GET /models.")
        if version is None:
            return versions[0]
        for model in versions:
            if model.version == version:
                return model
        known = ", ".join(model.version for model in versions)
        rejection = self._rejection(name, version)
        raise UnknownModel(f"Version {version[:80]!r} of model {name!r} is not loaded. Loaded versions: {known}. {rejection}".rstrip())

    def versions(self, name: str) -> tuple[LoadedModel, ...]:
        """Return the loaded versions of a model, newest first."""
        return self._served.get(name, ())

    def folder_versions(self, name: str) -> list[LoadedModel]:
        """Return the loaded versions of a model that come from the model folder, newest first."""
        return list(self._from_folder.get(name, ()))

    def rejected_versions(self, name: str) -> list[RejectedVersion]:
        """Return the versions of a model that cannot be served."""
        return [rejected for rejected in self.rejected if rejected.name == name]

    def set_folder_versions(self, name: str, versions: Sequence[LoadedModel]) -> None:
        """Replace the model folder's versions of a model, newest first. An empty sequence removes the model."""
        others = {each: models for each, models in self._from_folder.items() if each != name}
        self._from_folder = dict(sorted((others | ({name: tuple(versions)} if versions else {})).items()))
        self._served = self._fixed | self._from_folder

    def _default_in(self, served: Mapping[str, object]) -> str | None:
        return self._default or min(served, default=None)

    def _rejection(self, name: str, version: str | None = None) -> str:
        rejected = next((each for each in self.rejected_versions(name) if version in (None, each.version)), None)
        return f"Refused: {rejected.why} " if rejected else ""
