"""The models that are being served, by name and version."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from detector.detector import Detector
from detector.engines import ConcurrentEngine, Engine
from detector.engines.cores import usable_cores
from detector.errors import UnknownModel
from detector.shapes import parameters
from detector.spec import ModelDescription
from service.errors import NoModel
from service.inference.lanes import Lanes
from service.models.memory import needed_bytes

RETRY_AFTER = 5
"""Seconds: a folder of models is looked at every few."""

FIRST_VERSION = "1"
"""Of a model that is served from no folder."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A detector ready to answer, and what there is to say of it. The arrays themselves live on in the engine only.

    Whoever answers a request holds on to one of these from beginning to end; it is gone when nobody does any more.
    """

    name: str
    detector: Detector
    parameters: int
    provenance: Mapping[str, str]
    version: str = FIRST_VERSION
    memory: int = 0  # bytes, about
    file: str | None = None  # of a folder of models
    lanes: Lanes = field(default_factory=Lanes, repr=False)
    """The threads in which alone the engine is called: one, unless it may be called by several."""

    @classmethod
    def of(
        cls,
        model: ModelDescription,
        engine: Engine,
        *,
        name: str | None = None,
        version: str = FIRST_VERSION,
        file: str | None = None,
        lanes: int | None = None,
    ) -> "LoadedModel":
        """Load and warm up: one picture goes through, so that the first request is as quick as the next.

        lanes: how many calls of the engine may go beside one another; None: as many as there are cores, if it may be called so.
        """
        count = lanes or (usable_cores() if isinstance(engine, ConcurrentEngine) else 1)
        spec = model.spec
        memory = needed_bytes(spec, model.quantization)
        detector = Detector(spec, engine)
        loaded = cls(name or model.name, detector, parameters(spec.network), dict(model.provenance), version, memory, file, Lanes(count))
        loaded.lanes.submit(detector.detect, np.zeros((spec.input_size, spec.input_size, 3), np.uint8)).result()
        return loaded

    @property
    def engine(self) -> str:
        """What computes: "onnxruntime", "tensorflow"."""
        return self.detector.engine.name


@dataclass(frozen=True)
class Refused:
    """A version that lies in the folder of models and is not served."""

    name: str
    version: str | None  # None: the whole model
    why: str  # a sentence
    since: datetime
    no_room: bool = False  # it is sound, but would take more memory than there is for models


Key = tuple[str, str]
"""A model's name and version."""


class Registry:
    """What is served now. Any thread may ask; only one changes it, and each change is there for everybody at once."""

    def __init__(self, models: Sequence[LoadedModel] = (), *, default: str | None = None) -> None:
        """models: served whatever the folder of models has, unless that has one of the same name.

        default: the name that answers where none is named, there or not yet. If not given, the first of `models`; without any, the
        first of the names there are. Raises ValueError for a name that is there twice.
        """
        self._fixed = {model.name: (model,) for model in models}
        if len(self._fixed) < len(models):
            raise ValueError(f"a registry wants each name once, got {[model.name for model in models]}.")
        self._default = default or next(iter(self._fixed), None)
        self._of_folder: dict[str, tuple[LoadedModel, ...]] = {}
        self._served: Mapping[str, tuple[LoadedModel, ...]] = self._fixed
        self.refused: Collection[Refused] = ()
        self.loading: Key | None = None
        self.loads = 0  # versions of the folder that were loaded so far
        self.refusals = 0  # and refused

    def __iter__(self) -> Iterator[LoadedModel]:
        """The newest version of each model, the default first."""
        served = self._served
        default = self._default_of(served)
        return iter([served[name][0] for name in sorted(served, key=lambda name: name != default)])

    @property
    def loaded(self) -> list[LoadedModel]:
        """Every version of every model."""
        return [model for versions in self._served.values() for model in versions]

    @property
    def default_name(self) -> str | None:
        """Of the model that answers where none is named, there or not yet."""
        return self._default_of(self._served)

    @property
    def default(self) -> LoadedModel:
        """The model that answers where none is named. Raises NoModel where it is not there yet."""
        served = self._served
        name = self._default_of(served)
        if name is None or name not in served:
            what = f"model {name[:80]!r}" if name else "model"
            raise NoModel(f"there is no {what} to answer yet. Put one into the folder of models.", RETRY_AFTER)
        return served[name][0]

    def get(self, name: str | None, version: str | None = None) -> LoadedModel:
        """The model of that name, the default for None; its newest version for None. Raises UnknownModel, which names those there are."""
        if name is None:
            return self.default
        versions = self.versions(name)
        if not versions:
            there = ", ".join(self._served) or "none yet"
            raise UnknownModel(f"no model {name[:80]!r} is served here; there are {there}. {self._why_not(name)}See GET /models.")
        if version is None:
            return versions[0]
        for model in versions:
            if model.version == version:
                return model
        there = ", ".join(model.version for model in versions)
        why_not = self._why_not(name, version)
        raise UnknownModel(f"model {name!r} has no version {version[:80]!r} loaded; it has {there}. {why_not}".rstrip())

    def versions(self, name: str) -> tuple[LoadedModel, ...]:
        """The loaded versions of a model, the newest first."""
        return self._served.get(name, ())

    def of_folder(self, name: str) -> list[LoadedModel]:
        """Those of them that come from the folder of models."""
        return list(self._of_folder.get(name, ()))

    def refused_of(self, name: str) -> list[Refused]:
        """The versions of a model that are not served."""
        return [refused for refused in self.refused if refused.name == name]

    def serve(self, name: str, versions: Sequence[LoadedModel]) -> None:
        """From now on these are the folder's versions of that model, the newest first; none: it is served no more."""
        others = {each: models for each, models in self._of_folder.items() if each != name}
        self._of_folder = dict(sorted((others | ({name: tuple(versions)} if versions else {})).items()))
        self._served = self._fixed | self._of_folder

    def _default_of(self, served: Mapping[str, object]) -> str | None:
        return self._default or min(served, default=None)

    def _why_not(self, name: str, version: str | None = None) -> str:
        refused = next((each for each in self.refused_of(name) if version in (None, each.version)), None)
        return f"Refused: {refused.why} " if refused else ""
