"""The watcher while a version is being read, loaded or freed."""

import threading
import weakref

import pytest

from service.app import create_app
from service.models.loader import ModelLoader
from service.models.registry import Registry
from service.models.watcher import ModelWatcher
from service.settings import Settings
from weights.engines.options import EngineOptions
from weights.repository.publish import add_version, rollback_version

MIB = 2**20


def test_file_that_changes_while_it_is_read_is_left_for_the_next_scan(models, write_model, tiny_model, another_model):
    path = add_version(models, "mine", tiny_model).path
    replaced = []

    class ReplacingLoader(ModelLoader):
        def load(self, *arguments):
            if path.exists() and not replaced:
                replaced.append(True)
                write_model(path, another_model)
            return super().load(*arguments)

    registry = Registry()
    watcher = ModelWatcher(models, registry, ReplacingLoader(EngineOptions("onnxruntime"), 1000 * MIB))
    watcher.update()
    assert not registry.loaded
    assert not registry.rejected
    for _ in range(2):
        watcher.update()
    assert registry.get("mine").detector.spec.labels == another_model.spec.labels


def test_replaced_version_is_freed_when_its_last_request_ends(watch, models, tiny_model, another_model, make_image_bytes, send_request):
    add_version(models, "mine", tiny_model)
    folder = watch()
    app = create_app(folder.registry, Settings())
    assert send_request(app, "POST", "/detect", content=make_image_bytes()).json()["version"] == "1"
    in_flight = folder.registry.get("mine")
    model, session = weakref.ref(in_flight), weakref.ref(in_flight.detector.engine.session)
    add_version(models, "mine", another_model)
    assert folder.scan().served == {"mine": ["2"]}
    assert in_flight.thread_pool.submit(int).result() == 0  # a running request keeps the version that it started with
    assert session()
    del in_flight
    assert model() is None
    for thread in threading.enumerate():
        if thread.name == "release":
            thread.join()
    assert session() is None
    assert send_request(app, "POST", "/detect", content=make_image_bytes()).json()["version"] == "2"


class BlockedLoader(ModelLoader):
    """A loader that waits for the gate before it loads a version."""

    began, gate = threading.Event(), threading.Event()

    def load(self, *arguments):
        self.began.set()
        assert self.gate.wait(30)
        return super().load(*arguments)


@pytest.fixture
def blocked_loader():
    """A blocked loader with an open gate."""
    BlockedLoader.gate.set()
    yield BlockedLoader(EngineOptions("onnxruntime"), 1000 * MIB)
    BlockedLoader.gate.set()


def close_gate(loader):
    loader.gate.clear()
    loader.began.clear()


def test_requests_are_answered_while_a_version_is_being_loaded(
    models, tiny_model, another_model, make_image_bytes, send_request, blocked_loader
):
    registry = Registry()
    watcher = ModelWatcher(models, registry, blocked_loader)
    add_version(models, "mine", tiny_model)
    watcher.update()
    app = create_app(registry, Settings())
    add_version(models, "mine", another_model)
    close_gate(blocked_loader)
    with watcher.running(0.001):
        try:
            assert blocked_loader.began.wait(30)
            assert send_request(app, "POST", "/detect", content=make_image_bytes()).json()["version"] == "1"
            states = send_request(app, "GET", "/v1/models/mine").json()["model_version_status"]
            assert [(each["version"], each["state"]) for each in states] == [("2", "LOADING"), ("1", "AVAILABLE")]
            assert send_request(app, "GET", "/v2/models/mine/versions/2/ready").status_code == 404
        finally:
            blocked_loader.gate.set()
    assert (
        send_request(app, "POST", "/detect", content=make_image_bytes()).json()["version"] == "2"
    )  # leaving the block has waited for the load


def test_rollback_to_a_loaded_version_does_not_wait_for_another_version(models, tiny_model, another_model, blocked_loader):
    for model in (tiny_model, another_model, tiny_model):
        add_version(models, "mine", model)
    registry = Registry()
    watcher = ModelWatcher(models, registry, blocked_loader, max_versions=2)
    watcher.update()
    rollback_version(models, "mine")
    close_gate(blocked_loader)
    with watcher.running(0.001):
        try:
            assert blocked_loader.began.wait(30)  # version 1 is being loaded
            assert [model.version for model in registry.versions("mine")] == ["2"]
        finally:
            blocked_loader.gate.set()
    assert [model.version for model in registry.versions("mine")] == ["2", "1"]


def test_watcher_continues_after_a_failed_scan_and_ends_with_its_block(models, tiny_model, caplog):
    registry, scanned = Registry(), threading.Event()

    class FailingOnce(ModelWatcher):
        failed = False

        def update(self):
            if not self.failed:
                self.failed = True
                raise RuntimeError("an unexpected error")
            super().update()
            scanned.set()

    watcher = FailingOnce(models, registry, ModelLoader(EngineOptions("onnxruntime"), 1000 * MIB))
    add_version(models, "mine", tiny_model)
    with watcher.running(0.001):
        assert scanned.wait(30)
    assert registry.get("mine")
    assert "an unexpected error" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "models"]
