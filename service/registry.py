"""The models that are being served, by name."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from detector.detector import Detector
from detector.engines import Engine
from detector.errors import UnknownModel
from detector.shapes import parameters
from detector.spec import ModelFacts


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A detector ready to answer, and what there is to say of it. The arrays themselves live on in the engine only."""

    name: str
    detector: Detector
    parameters: int
    provenance: Mapping[str, str]
    turns: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="network"), repr=False)
    """One thread, in which alone the engine is called: one photo takes all cores, so a second would only slow the first."""

    @classmethod
    def of(cls, model: ModelFacts, engine: Engine) -> "LoadedModel":
        """Load and warm up: one picture goes through, so that the first request is as quick as the next."""
        detector = Detector(model.spec, engine)
        detector.detect(np.zeros((model.spec.input_size, model.spec.input_size, 3), np.uint8))
        return cls(model.name, detector, parameters(model.spec.network), dict(model.provenance))

    @property
    def engine(self) -> str:
        """What computes: "onnxruntime", "tensorflow"."""
        return self.detector.engine.name


class Registry:
    """Loaded models by name; the first is the default."""

    def __init__(self, models: Sequence[LoadedModel]) -> None:
        self._models = {model.name: model for model in models}
        if len(self._models) < len(models) or not models:
            raise ValueError(f"a registry wants at least one model, and each name once, got {[model.name for model in models]}.")

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(self._models.values())

    @property
    def default(self) -> LoadedModel:
        """The model that answers where none is named."""
        return next(iter(self))

    def get(self, name: str | None) -> LoadedModel:
        """The model of that name, the default for None. Raises UnknownModel, which names those there are."""
        if name is None:
            return self.default
        if name not in self._models:
            raise UnknownModel(f"no model {name[:80]!r} is served here; there are {', '.join(self._models)}. See GET /models.")
        return self._models[name]
