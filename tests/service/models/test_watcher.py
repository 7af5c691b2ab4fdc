"""A folder of models as the service follows it, look by look; nothing waits for a clock."""

import os
import shutil
import threading
import weakref
from dataclasses import replace

import pytest

from detector.errors import UnknownModel
from detector.spec import Model
from service.app import create_app
from service.errors import NoModel
from service.models.loaded_model import LoadedModel, estimate_memory
from service.models.loader import LOADING_FACTOR, ModelLoader, available_memory
from service.models.registry import Registry
from service.models.watcher import ModelWatcher
from service.settings import Settings
from weights.formats.safetensors import save_model
from weights.repository.layout import FILE
from weights.repository.publish import add, promote, remove, rollback

MIB = 2**20


class Followed:
    """A folder, and the service that follows it."""

    def __init__(self, path, registry=None, budget=1000 * MIB, kept=1, limit=1000 * MIB):
        self.path = path
        self.registry = registry or Registry()
        self.folder = ModelWatcher(path, self.registry, ModelLoader("onnxruntime", budget, limit), kept)
        self.folder.update()

    def look(self, times=2):
        """Twice: what is new is taken when two looks agree."""
        for _ in range(times):
            self.folder.update()
        return self

    @property
    def served(self):
        """Name -> loaded versions, the newest first."""
        return {model.name: [one.version for one in self.registry.versions(model.name)] for model in self.registry}

    @property
    def refused(self):
        return {(refused.name, refused.version): refused.why for refused in self.registry.rejected}


@pytest.fixture
def follow(models):
    return lambda *args, **options: Followed(models, *args, **options)


def put(path, model):
    """Write a model there, whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, path)


def test_what_lies_there_at_the_start_is_served_and_the_highest_version_answers(follow, models, tiny_model, another_model):
    put(models / "fruit" / "9" / FILE, tiny_model)
    put(models / "fruit" / "10" / FILE, another_model)
    put(models / "flat.safetensors", tiny_model)
    followed = follow()
    assert followed.served == {"flat": ["1"], "fruit": ["10"]}
    assert followed.registry.get("fruit").detector.spec.labels == another_model.spec.labels
    assert followed.registry.get("fruit").name == "fruit"
    assert followed.registry.default.name == "flat"
    assert followed.registry.load_count == 2


def test_a_new_version_answers_after_two_looks_that_agree(follow, models, tiny_model, another_model):
    add(models, "fruit", tiny_model)
    followed = follow()
    add(models, "fruit", another_model)
    assert followed.look(1).served == {"fruit": ["1"]}
    assert followed.look(1).served == {"fruit": ["2"]}


def test_a_file_that_grows_is_not_read_until_it_rests(follow, models, tiny_model, another_model):
    add(models, "fruit", tiny_model)
    followed = follow()
    whole = models.parent / "whole"
    put(whole, another_model)
    data = whole.read_bytes()
    copied = models / "fruit" / "2" / FILE
    copied.parent.mkdir()
    for part in (data[:100], data[:-1]):
        copied.write_bytes(part)
        assert followed.look(1).served == {"fruit": ["1"]}
    assert not followed.refused
    followed.look(1)  # it rests, and is not whole: who copies may have stopped for a while
    assert followed.served == {"fruit": ["1"]}
    assert "damaged, cut short" in followed.refused["fruit", "2"]
    copied.write_bytes(data)
    assert followed.look(1).served == {"fruit": ["1"]}
    assert followed.look(1).served == {"fruit": ["2"]}
    assert not followed.refused


@pytest.mark.parametrize("spoil", ["damaged", "cut", "foreign", "a folder", "stem", "pipe"])
def test_what_is_broken_is_refused_with_a_sentence_and_the_old_version_goes_on(follow, models, tiny_model, spoil, caplog):
    add(models, "mine", tiny_model)
    followed = follow()
    old = followed.registry.get("mine")
    path = models / "mine" / "2" / FILE
    put(path, tiny_model)
    data = path.read_bytes()
    if spoil == "stem":
        network = tiny_model.spec.network[:2]
        arrays = {name: array for name, array in tiny_model.arrays.items() if name.startswith("conv1/")}
        put(path, Model("stem", replace(tiny_model.spec, labels=(), anchors=(), network=network), arrays))
    elif spoil in ("a folder", "pipe"):
        path.unlink()
        (path.mkdir if spoil == "a folder" else lambda: os.mkfifo(path))()
    else:
        path.write_bytes({"damaged": data[:-4] + b"oops", "cut": data[:-1], "foreign": b"<html>"}[spoil])
    followed.look()
    assert followed.registry.get("mine") is old
    assert "mine/2/model.safetensors" in followed.refused["mine", "2"]
    assert str(models) not in followed.refused["mine", "2"]
    assert followed.refused["mine", "2"] in caplog.text
    assert followed.look(5).registry.rejection_count == 1
    with pytest.raises(UnknownModel, match=r"has no version '2' loaded; it has 1\. Refused: .*model\.safetensors"):
        followed.registry.get("mine", "2")
    shutil.rmtree(path.parent)
    put(path, tiny_model)
    assert followed.look().served == {"mine": ["2"]}
    assert not followed.refused


def test_a_file_replaced_in_place_is_a_new_model_and_a_broken_one_is_not(follow, models, tiny_model, another_model):
    path = models / "flat.safetensors"
    put(path, tiny_model)
    followed = follow()
    first = followed.registry.get("flat")
    path.write_bytes(path.read_bytes()[:-1])
    assert followed.look().registry.get("flat") is first
    assert followed.refused
    put(path, another_model)
    assert followed.look().registry.get("flat").detector.spec.labels == another_model.spec.labels
    assert not followed.refused


def test_links_as_kubernetes_swaps_them_are_followed(follow, models, tiny_model, another_model):
    for number, model in enumerate((tiny_model, another_model)):
        put(models / f"..2026_{number}" / "mine.safetensors", model)
    (models / "..data").symlink_to("..2026_0")
    (models / "mine.safetensors").symlink_to("..data/mine.safetensors")
    followed = follow()
    assert followed.registry.get("mine").detector.spec.labels == tiny_model.spec.labels
    (models / "..new").symlink_to("..2026_1")
    (models / "..new").rename(models / "..data")
    assert followed.look().registry.get("mine").detector.spec.labels == another_model.spec.labels
    assert followed.served == {"mine": ["1"]}


def test_removal_unloads_after_two_looks(follow, models, tiny_model):
    for name in ("one", "two"):
        add(models, name, tiny_model)
    followed = follow()
    remove(models, "one")
    assert followed.look(1).served == {"one": ["1"], "two": ["1"]}
    assert followed.look(1).served == {"two": ["1"]}
    with pytest.raises(UnknownModel, match="there are two"):
        followed.registry.get("one")


def test_a_folder_that_cannot_be_listed_unloads_nothing(follow, models, tiny_model, caplog):
    add(models, "mine", tiny_model)
    followed = follow()
    models.rename(models.with_name("away"))
    assert followed.look(5).served == {"mine": ["1"]}
    assert caplog.text.count("What is loaded goes on") == 1
    models.with_name("away").rename(models)
    add(models, "mine", tiny_model)
    assert followed.look().served == {"mine": ["2"]}


def test_a_model_that_is_away_for_one_look_is_not_loaded_anew(follow, models, tiny_model):
    add(models, "mine", tiny_model)
    followed = follow()
    before = followed.registry.get("mine")
    (models / "mine").rename(models / ".mine")
    followed.look(1)
    (models / ".mine").rename(models / "mine")
    assert followed.look().registry.get("mine") is before


def test_rollback_and_promote_on_disk_are_followed(follow, models, tiny_model, another_model):
    for model in (tiny_model, another_model, tiny_model):
        add(models, "mine", model)
    followed = follow()
    assert followed.served == {"mine": ["3"]}
    rollback(models, "mine")
    assert followed.look().served == {"mine": ["2"]}
    promote(models, "mine", 1)
    assert followed.look().served == {"mine": ["1"]}
    promote(models, "mine", 3)
    assert followed.look().served == {"mine": ["3"]}


def test_a_version_set_aside_goes_on_where_the_one_before_it_is_broken(follow, models, tiny_model):
    for _ in range(2):
        add(models, "mine", tiny_model)
    followed = follow()
    (models / "mine" / "1" / FILE).write_bytes(b"broken")
    rollback(models, "mine")
    assert followed.look(3).served == {"mine": ["2"]}
    assert ("mine", "1") in followed.refused
    remove(models, "mine")
    assert followed.look().served == {}


def test_at_the_start_the_newest_sound_version_is_served(follow, models, tiny_model):
    for _ in range(3):
        add(models, "mine", tiny_model)
    (models / "mine" / "3" / FILE).write_bytes(b"broken")
    followed = follow()
    assert followed.served == {"mine": ["2"]}
    assert ("mine", "3") in followed.refused


def test_as_many_versions_are_loaded_as_are_wanted_and_answer_by_number(follow, models, tiny_model, another_model):
    for model in (tiny_model, another_model, tiny_model):
        add(models, "mine", model)
    followed = follow(kept=2)
    assert followed.served == {"mine": ["3", "2"]}
    assert followed.registry.get("mine", "2").detector.spec.labels == another_model.spec.labels
    second = followed.registry.get("mine", "2")
    rollback(models, "mine")
    assert followed.look().served == {"mine": ["2", "1"]}
    assert followed.registry.get("mine") is second  # it was loaded already


def test_a_model_of_the_folder_goes_before_the_fixed_one_of_its_name_and_leaves_it_behind(
    follow, models, tiny_model, another_model, engine
):
    fixed = LoadedModel.of(tiny_model, engine(tiny_model), name="mine")
    followed = follow(Registry([fixed]))
    add(models, "mine", another_model)
    add(models, "another", another_model)
    assert followed.look().registry.default.detector.spec.labels == another_model.spec.labels
    assert list(followed.served) == ["mine", "another"]
    remove(models, "mine")
    assert followed.look().registry.default is fixed


def test_the_default_may_be_one_that_is_not_there_yet(follow, models, tiny_model):
    add(models, "another", tiny_model)
    followed = follow(Registry(default="mine"))
    with pytest.raises(NoModel, match="no model 'mine'"):
        _ = followed.registry.default
    add(models, "mine", tiny_model)
    assert followed.look().registry.default.name == "mine"
    assert list(followed.served) == ["mine", "another"]


@pytest.fixture
def engine():
    from detector.engines.onnxruntime import OnnxEngine

    return OnnxEngine.of


def test_a_model_beyond_the_budget_is_refused_and_taken_when_there_is_room(follow, models, tiny_model, another_model):
    needed = estimate_memory(tiny_model.spec, None)
    for name in ("a", "b"):
        add(models, name, tiny_model)
    followed = follow(budget=2 * needed)
    assert followed.served == {"a": ["1"], "b": ["1"]}
    assert {model.memory for model in followed.registry} == {needed}
    add(models, "c", another_model)
    followed.look(4)
    assert followed.served == {"a": ["1"], "b": ["1"]}
    assert "Remove a model, or raise BOXWRIGHT_MAX_MODEL_BYTES" in followed.refused["c", "1"]
    assert [refused.out_of_memory for refused in followed.registry.rejected] == [True]
    assert followed.registry.rejection_count == 1
    for name in ("a", "b"):
        remove(models, name)
    assert followed.look().served == {"c": ["1"]}
    assert not followed.refused


def test_a_model_that_could_not_be_loaded_beside_the_others_is_refused_and_taken_when_it_can(follow, models, tiny_model):
    """The process would be killed while it loads, though all would fit afterwards."""
    needed = estimate_memory(tiny_model.spec, None)
    add(models, "a", tiny_model)
    followed = follow(budget=3 * needed, limit=LOADING_FACTOR * needed)
    assert followed.served == {"a": ["1"]}
    add(models, "b", tiny_model)
    assert followed.look(3).served == {"a": ["1"]}
    assert "give the service more memory" in followed.refused["b", "1"]
    assert followed.registry.rejection_count == 1
    remove(models, "a")
    assert followed.look().served == {"b": ["1"]}


def test_the_budget_is_asked_before_the_model_is_read(models, tiny_model):
    version = add(models, "mine", tiny_model)
    path = version.path
    path.write_bytes(path.read_bytes()[:-4] + b"oops")  # its arrays are damaged, which only whoever reads them sees
    followed = Followed(models, budget=1)
    assert "it would take" in followed.refused["mine", "1"]


def test_half_of_what_the_process_may_use_is_the_budget_if_nobody_says(tmp_path):
    assert ModelLoader.of(Settings(max_model_bytes=5)).budget == 5
    assert 0 < ModelLoader.of(Settings()).budget == available_memory() // 2
    (tmp_path / "memory.max").write_text("1048576\n")
    assert available_memory(tmp_path) == MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) == available_memory(tmp_path / "none")
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2097152\n")
    assert available_memory(tmp_path) == 2 * MIB


@pytest.mark.parametrize(("member", "root"), [("0::/a/b\n", ""), ("4:memory:/a/b\n0::/\n", "memory/")])
def test_the_limit_of_the_process_s_own_group_counts_and_of_those_around_it(tmp_path, member, root):
    own = tmp_path / root / "a" / "b"
    own.mkdir(parents=True)
    (tmp_path / "member").write_text(member)
    name = "memory.limit_in_bytes" if root else "memory.max"
    (own / name).write_text("2097152\n")
    assert available_memory(tmp_path, tmp_path / "member") == 2 * MIB
    (own.parent / name).write_text("1048576\n")
    assert available_memory(tmp_path, tmp_path / "member") == MIB


def test_an_engine_that_fails_in_its_own_way_is_a_refusal(models, tiny_model, monkeypatch, caplog):
    """What an engine makes of a stranger's network is not known beforehand."""
    from service.models import loader as model_loading

    def fails(*_, **__):
        raise RuntimeError("no kernel for this")

    add(models, "mine", tiny_model)
    monkeypatch.setattr(model_loading, "load_engine", fails)
    followed = Followed(models)
    assert "the engine cannot compute it (RuntimeError)" in followed.refused["mine", "1"]
    assert "no kernel for this" in caplog.text


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_look(models, tiny_model, another_model):
    path = add(models, "mine", tiny_model).path

    class Meddled(ModelLoader):
        def load(self, *arguments):
            if path.exists() and not meddled:
                meddled.append(True)
                put(path, another_model)
            return super().load(*arguments)

    meddled = []
    registry = Registry()
    folder = ModelWatcher(models, registry, Meddled("onnxruntime", 1000 * MIB))
    folder.update()
    assert not registry.loaded
    assert not registry.rejected
    for _ in range(2):
        folder.update()
    assert registry.get("mine").detector.spec.labels == another_model.spec.labels


def test_a_version_that_is_swapped_out_is_freed_when_its_last_request_is_done(models, tiny_model, another_model, photo, ask):
    add(models, "mine", tiny_model)
    followed = Followed(models)
    app = create_app(followed.registry, Settings())
    assert ask(app, "POST", "/detect", content=photo()).json()["version"] == "1"
    in_flight = followed.registry.get("mine")
    model, session = weakref.ref(in_flight), weakref.ref(in_flight.detector.engine.session)
    add(models, "mine", another_model)
    assert followed.look().served == {"mine": ["2"]}
    assert in_flight.lanes.submit(int).result() == 0  # a request under way goes on with the version that it began with
    assert session()
    del in_flight
    assert model() is None
    for thread in threading.enumerate():
        if thread.name == "release":
            thread.join()
    assert session() is None
    assert ask(app, "POST", "/detect", content=photo()).json()["version"] == "2"


def test_a_version_without_its_file_is_refused_until_the_file_comes(follow, models, tiny_model):
    add(models, "mine", tiny_model)
    (models / "mine" / "2").mkdir()
    followed = follow()
    assert followed.served == {"mine": ["1"]}
    assert "cannot be read: No such file" in followed.refused["mine", "2"]
    assert followed.look(5).registry.rejection_count == 1
    put(models / "mine" / "2" / FILE, tiny_model)
    assert followed.look().served == {"mine": ["2"]}


class Held(ModelLoader):
    """Loading that waits before it loads."""

    def load(self, *arguments):
        begun.set()
        assert gate.wait(30)
        return super().load(*arguments)


begun, gate = threading.Event(), threading.Event()


def test_requests_are_answered_while_a_version_is_loaded_which_is_told(models, tiny_model, another_model, photo, ask):
    registry = Registry()
    folder = ModelWatcher(models, registry, Held("onnxruntime", 1000 * MIB))
    add(models, "mine", tiny_model)
    gate.set()
    folder.update()
    app = create_app(registry, Settings())
    add(models, "mine", another_model)
    gate.clear()
    begun.clear()
    with folder.running(0.001):
        try:
            assert begun.wait(30)
            assert ask(app, "POST", "/detect", content=photo()).json()["version"] == "1"
            states = ask(app, "GET", "/v1/models/mine").json()["model_version_status"]
            assert [(one["version"], one["state"]) for one in states] == [("2", "LOADING"), ("1", "AVAILABLE")]
            assert ask(app, "GET", "/v2/models/mine/versions/2/ready").status_code == 404
        finally:
            gate.set()
    assert ask(app, "POST", "/detect", content=photo()).json()["version"] == "2"  # the end waited for it


def test_a_rollback_to_a_version_that_is_loaded_waits_for_no_other(models, tiny_model, another_model):
    for model in (tiny_model, another_model, tiny_model):
        add(models, "mine", model)
    registry = Registry()
    folder = ModelWatcher(models, registry, Held("onnxruntime", 1000 * MIB), kept=2)
    gate.set()
    folder.update()
    rollback(models, "mine")
    gate.clear()
    begun.clear()
    with folder.running(0.001):
        try:
            assert begun.wait(30)  # version 1 is being loaded
            assert [model.version for model in registry.versions("mine")] == ["2"]
        finally:
            gate.set()
    assert [model.version for model in registry.versions("mine")] == ["2", "1"]


def test_the_watch_goes_on_after_a_look_that_failed_and_ends_when_told(models, tiny_model, caplog):
    registry, looked = Registry(), threading.Event()

    class Stumbling(ModelWatcher):
        stumbled = False

        def look(self):
            if not self.stumbled:
                self.stumbled = True
                raise RuntimeError("something nobody thought of")
            super().look()
            looked.set()

    folder = Stumbling(models, registry, ModelLoader("onnxruntime", 1000 * MIB))
    add(models, "mine", tiny_model)
    with folder.running(0.001):
        assert looked.wait(30)
    assert registry.get("mine")
    assert "something nobody thought of" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "models"]


def test_what_is_no_model_and_cannot_be_one_is_told(follow, models, tiny_model):
    put(models / "my model.safetensors", tiny_model)
    followed = follow()
    assert followed.served == {}
    assert "is no name for a model" in followed.refused["my model.safetensors", None]
    assert followed.look(3).registry.rejection_count == 1
    (models / "my model.safetensors").unlink()
    assert not followed.look().refused
