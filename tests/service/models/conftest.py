"""A model folder and its watcher."""

import pytest

from service.models.loader import ModelLoader
from service.models.registry import Registry
from service.models.watcher import ModelWatcher
from weights.engines.options import EngineOptions
from weights.formats.safetensors import save_model

MIB = 2**20


class WatchedFolder:
    """A model folder, its watcher, and the registry that follows it. It has been scanned once."""

    def __init__(self, path, registry=None, budget=1000 * MIB, max_versions=1, process_limit=1000 * MIB):
        self.path = path
        self.registry = registry or Registry()
        self.watcher = ModelWatcher(path, self.registry, ModelLoader(EngineOptions("onnxruntime"), budget, process_limit), max_versions)
        self.watcher.update()

    def scan(self, times=2):
        """Scan twice by default: a new file is read when two scans agree."""
        for _ in range(times):
            self.watcher.update()
        return self

    @property
    def served(self):
        """Name -> loaded versions, newest first."""
        return {model.name: [loaded.version for loaded in self.registry.versions(model.name)] for model in self.registry}

    @property
    def rejected(self):
        return {(rejected.name, rejected.version): rejected.why for rejected in self.registry.rejected}


@pytest.fixture
def watch(models):
    """Return a function (options) -> the watched folder `models`."""
    return lambda *args, **options: WatchedFolder(models, *args, **options)


@pytest.fixture(scope="session")
def write_model():
    """Return a function (path, model) that writes the model file, and creates its folder if necessary."""

    def write(path, model):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(model, path)

    return write
