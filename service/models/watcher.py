"""A folder of models that is watched: what appears there is served, what goes is not, and what is broken changes nothing.

The folder is looked at every few seconds, as network volumes and Kubernetes' links tell nobody of changes. What is seen is acted upon
when two looks agree, so that no file is read while it is copied. All of it runs in one thread beside the service; requests notice
nothing but that from one moment on the registry has another model under the name.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from detector.errors import BoxwrightError
from service.models.folder_scan import Key, Look, Sight
from service.models.loader import Loading
from service.models.registry import LoadedModel, Registry
from service.models.rejections import Refusals

logger = logging.getLogger("boxwright.models")

LEAVE_SECONDS = 3
"""How long the end of the service waits for a model that is being loaded; whoever ended it counts the seconds."""


class ModelFolder:
    """Keeps `registry` as the folder is. Of each model `kept` versions are loaded: the newest that are sound."""

    def __init__(self, folder: Path, registry: Registry, loading: Loading, kept: int = 1) -> None:
        self._folder = folder
        self._registry = registry
        self._loading = loading
        self._kept = kept
        self._look: Look | None = None
        self._loaded: dict[Key, tuple[Sight, LoadedModel]] = {}
        self._refusals = Refusals(folder)
        self._lost = False  # the folder, when it was last looked for
        self._leave = threading.Event()

    @contextmanager
    def watched(self, seconds: float) -> Iterator[None]:
        """Within the block, look every so many seconds."""
        thread = threading.Thread(target=self._watch, args=(seconds,), name="models", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._leave.set()
            thread.join(LEAVE_SECONDS)

    def _watch(self, seconds: float) -> None:
        while not self._leave.wait(seconds):
            try:
                self.look()
            except Exception:
                logger.exception("the folder of models could not be followed; the next look may fare better, and serving goes on")

    def look(self) -> None:
        """Do what there is to do. The first time, everything is taken as it is."""
        try:
            self._look = look = Look.at(self._folder, self._look)
        except OSError as error:
            if not self._lost:
                logger.warning("%s cannot be listed: %s. What is loaded goes on.", self._folder, error.strerror or error)
            self._lost = True
            return
        self._lost = False
        self._refusals.follow(look)
        gone = {name for name, _ in self._loaded} - look.names
        for name in [*sorted(gone), *sorted(look.names)]:  # what goes makes room for what comes
            if not self._leave.is_set():
                self._settle(name, look)
        self._tell()

    def _settle(self, name: str, look: Look) -> None:
        """Load what is wanted of that model, and let go of the rest. The newest answers without waiting for those before it."""
        there = look.of(name)
        before = [key for key in self._loaded if key[0] == name]
        chosen: list[Key] = []
        for key in there:
            if len(chosen) < self._kept and self._has(key, look):
                chosen.append(key)
                others = [other for other in there if other < key and other in self._loaded]
                self._serve(name, [*chosen, *others][: self._kept])
        if there and not chosen:
            return  # nothing that is there can be served: what was served goes on
        self._serve(name, chosen)
        for key in before:
            if key not in chosen:
                del self._loaded[key]

    def _serve(self, name: str, chosen: list[Key]) -> None:
        models, before = [self._loaded[key][1] for key in chosen], self._registry.of_folder(name)
        if models == before:
            return
        self._registry.serve(name, models)
        if not models:
            logger.info("model %s: gone from the folder, unloaded", name)
        elif models[:1] != before[:1]:
            logger.info("model %s: version %s answers", name, models[0].version)

    def _has(self, key: Key, look: Look) -> bool:
        """Whether that version is loaded; after a try, if it is there, steady, and not refused already."""
        held, sight = self._loaded.get(key), look.seen.get(key)
        if sight is None or key not in look.steady or (held and held[0] == sight) or self._refusals.bars(key, self._room()):
            return held is not None
        return self._try(key, sight) or held is not None

    def _try(self, key: Key, sight: Sight) -> bool:
        version, started = sight.version, perf_counter()
        self._registry.loading = (version.name, str(version.number))
        try:
            loaded = self._loading.load(version, self._folder, self._room())
        except (BoxwrightError, OSError) as error:
            if Sight.of(version) == sight:  # else it changed under our hands, and the next look sees what became of it
                self._refusals.note(key, sight, error)
                self._tell()
            return False
        finally:
            self._registry.loading = None
        if Sight.of(version) != sight:
            return False
        self._loaded[key] = sight, loaded
        self._refusals.lift(key)
        self._registry.loads += 1
        self._tell()
        logger.info("model %s: version %d is loaded, in %.2f s", version.name, version.number, perf_counter() - started)
        return True

    def _room(self) -> int:
        """Bytes that another model may take."""
        models = {id(model): model.memory for model in [*self._registry.loaded, *(model for _, model in self._loaded.values())]}
        return self._loading.budget - sum(models.values())

    def _tell(self) -> None:
        self._registry.refused, self._registry.refusals = self._refusals.told, self._refusals.count
