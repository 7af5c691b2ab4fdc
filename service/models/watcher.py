"""Watch the model folder: load new versions, unload removed ones, and keep serving the old version if a new one is broken.

The folder is polled, because network volumes and the symbolic links of Kubernetes send no change events. A file is read only
after two consecutive scans find it unchanged, so that a file that is being copied is not read. One background thread does all this.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from detector.errors import BoxwrightError
from service.models.folder_scan import FileSnapshot, FolderScan, VersionKey
from service.models.loaded_model import LoadedModel
from service.models.loader import ModelLoader
from service.models.registry import Registry
from service.models.rejections import Rejections

logger = logging.getLogger("boxwright.models")

STOP_SECONDS = 3  # How long the shutdown of the service waits for a model that is being loaded.


class ModelWatcher:
    """Keeps the registry in step with the model folder. The newest `max_versions` valid versions of each model are loaded."""

    def __init__(self, folder: Path, registry: Registry, loader: ModelLoader, max_versions: int = 1) -> None:
        self._folder = folder
        self._registry = registry
        self._loader = loader
        self._max_versions = max_versions
        self._scan: FolderScan | None = None
        self._loaded: dict[VersionKey, tuple[FileSnapshot, LoadedModel]] = {}
        self._rejections = Rejections(folder)
        self._unreadable = False  # whether the previous scan could not list the folder
        self._stop = threading.Event()

    @contextmanager
    def running(self, interval: float) -> Iterator[None]:
        """Scan the folder every `interval` seconds within the block."""
        thread = threading.Thread(target=self._run, args=(interval,), name="models", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(STOP_SECONDS)

    def _run(self, interval: float) -> None:
        while not self._stop.wait(interval):
            try:
                self.update()
            except Exception:
                logger.exception("the scan of the model folder failed; serving continues and the next scan tries again")

    def update(self) -> None:
        """Scan the folder once and apply the changes. The first scan treats every file as stable."""
        try:
            self._scan = scan = FolderScan.of(self._folder, self._scan)
        except OSError as error:
            if not self._unreadable:
                logger.warning("%s cannot be listed: %s. Loaded models stay available.", self._folder, error.strerror or error)
            self._unreadable = True
            return
        self._unreadable = False
        self._rejections.update(scan)
        removed = {name for name, _ in self._loaded} - scan.names
        for name in [*sorted(removed), *sorted(scan.names)]:  # removed models first: they free memory for new ones
            if not self._stop.is_set():
                self._update_model(name, scan)
        self._publish_rejections()

    def _update_model(self, name: str, scan: FolderScan) -> None:
        """Load the newest versions of a model and drop the others. The newest is served before older ones are loaded."""
        available = scan.versions(name)
        previous = [key for key in self._loaded if key[0] == name]
        chosen: list[VersionKey] = []
        for key in available:
            if len(chosen) < self._max_versions and self._ensure_loaded(key, scan):
                chosen.append(key)
                older = [other for other in available if other < key and other in self._loaded]
                self._publish(name, [*chosen, *older][: self._max_versions])
        if available and not chosen:
            return  # no version can be loaded: the versions that were served stay
        self._publish(name, chosen)
        for key in previous:
            if key not in chosen:
                del self._loaded[key]

    def _publish(self, name: str, chosen: list[VersionKey]) -> None:
        models, previous = [self._loaded[key][1] for key in chosen], self._registry.folder_versions(name)
        if models == previous:
            return
        self._registry.set_folder_versions(name, models)
        if not models:
            logger.info("model %s: removed from the folder, unloaded", name)
        elif models[:1] != previous[:1]:
            logger.info("model %s: version %s is now served", name, models[0].version)

    def _ensure_loaded(self, key: VersionKey, scan: FolderScan) -> bool:
        """Load the version if its file is stable, new and not rejected. Return True if it is loaded, possibly from an older file."""
        loaded, snapshot = self._loaded.get(key), scan.files.get(key)
        unchanged = loaded is not None and loaded[0] == snapshot
        if snapshot is None or key not in scan.stable or unchanged or self._rejections.blocks(key, self._free_bytes()):
            return loaded is not None
        return self._load(key, snapshot) or loaded is not None

    def _load(self, key: VersionKey, snapshot: FileSnapshot) -> bool:
        version, started = snapshot.version, perf_counter()
        self._registry.loading = (version.name, str(version.number))
        try:
            loaded = self._loader.load(version, self._folder, self._free_bytes())
        except (BoxwrightError, OSError) as error:
            if FileSnapshot.of(version) == snapshot:  # else the file changed while it was read, and the next scan handles it
                self._rejections.add(key, snapshot, error)
                self._publish_rejections()
            return False
        finally:
            self._registry.loading = None
        if FileSnapshot.of(version) != snapshot:
            return False
        self._loaded[key] = snapshot, loaded
        self._rejections.remove(key)
        self._registry.load_count += 1
        self._publish_rejections()
        logger.info("model %s: version %d loaded in %.2f s", version.name, version.number, perf_counter() - started)
        return True

    def _free_bytes(self) -> int:
        """Return what is left of the memory budget."""
        models = {id(model): model.memory for model in [*self._registry.loaded, *(model for _, model in self._loaded.values())]}
        return self._loader.budget - sum(models.values())

    def _publish_rejections(self) -> None:
        self._registry.rejected, self._registry.rejection_count = self._rejections.current, self._rejections.count
