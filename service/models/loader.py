"""From a version in a folder of models to one that answers."""

import logging
from dataclasses import dataclass
from pathlib import Path

from detector.errors import BoxwrightError, ModelError
from service.models.memory import SHARE, WHILE_LOADING, needed_bytes, usable_bytes
from service.models.registry import LoadedModel
from service.models.release import release_aside
from service.settings import Settings
from weights.engines.factory import EngineKind, build_engine
from weights.formats.safetensors import load_model, read_header
from weights.repository.layout import StoredVersion
from weights.repository.snapshot import snapshot

logger = logging.getLogger("boxwright.models")


class NoRoom(ModelError):
    """The model is sound as far as one can tell, and wants more memory than there is for models: `needed` bytes of the budget free."""

    def __init__(self, sentence: str, needed: int) -> None:
        super().__init__(sentence)
        self.needed = needed


@dataclass(frozen=True)
class Loading:
    """How versions are loaded, and the memory there is for them."""

    engine: EngineKind
    budget: int  # bytes that all models may take together
    limit: int = 1 << 62  # bytes that the process may take
    lanes: bool = True  # calls beside one another are to be expected

    @classmethod
    def of(cls, settings: Settings) -> "Loading":
        """As the settings say."""
        limit = usable_bytes()
        return cls(settings.engine, settings.max_model_bytes or int(SHARE * limit), limit, settings.batch_size == 1)

    def load(self, version: StoredVersion, folder: Path, room: int) -> LoadedModel:
        """Read, check, load and warm. folder: which its file is told to lie in. room: bytes that it may take.

        Raises NoRoom, before anything large is read, and BoxwrightError or OSError, whatever is wrong with the file.
        """
        with snapshot(version.path) as copy:
            header = read_header(copy, display_path=version.path)
            self._check_room(version, needed_bytes(header.spec, header.quantization), room)
            model = load_model(copy, display_path=version.path)
        try:
            engine = build_engine(model, self.engine, concurrent_sessions=self.lanes)
            loaded = LoadedModel.of(
                model, engine, name=version.name, version=str(version.number), file=version.path.relative_to(folder).as_posix()
            )
        except BoxwrightError as error:
            raise type(error)(f"{version.path}: {error}") from error
        except Exception as error:
            logger.exception("%s: the engine failed", version.path)
            raise ModelError(f"{version.path}: the engine cannot compute it ({type(error).__name__}); the log says more.") from error
        release_aside(loaded)
        return loaded

    def _check_room(self, version: StoredVersion, needed: int, room: int) -> None:
        """Its size must fit into the budget, and what loading it takes into the process."""
        if needed > room:
            raise NoRoom(
                f"{version.path}: it would take {_mib(needed)}, and of the {_mib(self.budget)} that all models may take together "
                f"{_mib(max(0, room))} are left. Remove a model, or raise BOXWRIGHT_MAX_MODEL_BYTES.",
                needed,
            )
        loading, taken = WHILE_LOADING * needed, self.budget - room
        if taken + loading > self.limit:
            raise NoRoom(
                f"{version.path}: to load it takes {_mib(loading)} for a moment, and of the {_mib(self.limit)} that this process may use "
                f"other models take {_mib(taken)}. Remove a model, or give the service more memory.",
                loading + self.budget - self.limit,
            )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
