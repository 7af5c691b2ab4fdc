"""Features kept on disk: training on them is training on the views they come from."""

import logging
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from training.config import Config
from training.data.batches import Batches, Kind, ViewId
from training.data.voc_reader import read_set
from training.errors import ConfigError, TrainingError
from training.features.cache import OPTIONS, FeatureCache
from training.features.file import FeatureFile, features_folder
from training.modeling.transfer import frozen_layers, transfer
from training.run.folder import RunFolder, Task
from training.run.run import Run
from training.run.trainer import Trainer
from weights.formats.safetensors import load_model, save_model

SETTINGS = {"batch_size": 3, "epochs": 6, "sizes": "32:0.4,64", "freeze": "backbone", "unfreeze_at": 6, "cache_features": 2}
SETTINGS |= {"mosaic": 0.5, "mosaic_until": 0.7, "prior_photos": 0, "warmup_steps": 0}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))


@pytest.fixture
def parts(rectangles, small_model):
    """(settings) -> what makes a trainer, and the batches and cache for it."""

    def make(model=small_model, dataset=rectangles, **settings):
        config = Config(**(SETTINGS | settings))
        start = transfer(model, ("blue", "red"), model.spec.anchors, config)
        batches = Batches(read_set(dataset, "train"), start.model.spec, config, augmented=not config.overfit)
        frozen = frozen_layers(start.model.spec.network, config.freeze)
        return (lambda: Trainer(start, config, frozen)), batches, FeatureCache.of(start.model, frozen, batches)

    return make


def fill(cache, first=0, last=None):
    """All batches, and what was told of filling."""
    told = []
    last = cache.batches.viewed_steps if last is None else last
    return list(cache.stream(first, last, told.append, lambda: False)), told


CASES = [{"freeze": "backbone"}, {"freeze": "all-but-head", "l2": 0.1}, {"freeze": "conv7", "dropout": 0.3}]
CASES += [{"batch_norm": "train", "new_layers": "head"}]


@pytest.mark.parametrize("settings", CASES)
def test_steps_on_kept_features_are_the_steps_on_the_views_themselves(parts, settings):
    settings |= {"epochs": 2, "sizes": "64", "optimizer": "momentum"}
    trainer, batches, cache = parts(**settings)
    first, second = trainer(), trainer()
    before = first.model("before", {}).arrays
    for step, (features, targets) in enumerate(fill(cache)[0]):
        images, same_targets = batches.batch(step)
        for name, target in same_targets.items():
            np.testing.assert_array_equal(targets[name], target)
        one = first.step(images, targets, number=step, rate=1e-4)
        other = second.step(features, targets, number=step, rate=1e-4)
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert other.gradients == pytest.approx(one.gradients, rel=1e-3)
    on_images, on_features = first.model("m", {}).arrays, second.model("m", {}).arrays
    moved = {name for name, array in before.items() if (array != on_images[name]).any()}
    assert {"linear/kernel", "linear/bias"} <= moved
    assert not any(name.startswith(("conv1", "conv4/", "conv5")) for name in moved)
    for name, array in on_images.items():
        way = np.linalg.norm(array - before[name])
        assert np.linalg.norm(on_features[name] - array) <= 1e-3 * way, name


def test_views_are_functions_of_the_seed_and_take_turns(parts):
    _, batches, _ = parts()
    (images, _), count = batches.batch(4), len(batches.samples)
    for index, which in enumerate(batches.view_ids(4)):
        np.testing.assert_array_equal(images[index], batches.view(batches.kind_of(4), which).pixels)
    other = parts()[1]
    np.testing.assert_array_equal(other.batch(4)[0], images)
    shown = [which for step in range(batches.steps) for which in batches.view_ids(step)]
    for epoch in range(batches.config.epochs):
        assert sorted(shown[epoch * count : (epoch + 1) * count]) == [ViewId(photo, epoch % 2) for photo in range(count)]
    assert list(batches.kinds()) == [Kind(32, True), Kind(64, True), Kind(64, False)]
    first, second = (batches.view(Kind(64, False), ViewId(0, view)).pixels for view in (0, 1))
    assert (first != second).any()


def test_only_views_that_are_shown_are_computed(parts):
    _, batches, cache = parts(cache_features=100, sizes="64", mosaic=0.0)
    _, told = fill(cache)
    assert told[-1].done == told[-1].views == batches.steps * 3
    _, batches, cache = parts(overfit=4, sizes="64")
    _, told = fill(cache)
    assert told[-1].views == len(batches.samples)


def test_features_are_computed_once(parts):
    first, told = fill(parts()[2])
    assert [stand.done for stand in told if stand.done == 0] == [0, 0, 0]
    assert {path.stat().st_size for path in features_folder().glob("*.features")} == {stand.bytes for stand in told}
    second, told = fill(parts(learning_rate=0.1, l2=0.5)[2])
    assert told == []
    for (features, targets), (same, same_targets) in zip(first, second, strict=True):
        for kept, again in ((features, same), (targets, same_targets)):
            assert all(kept[name].tobytes() == again[name].tobytes() for name in kept)


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "foreign"])
def test_a_damaged_file_is_noticed_and_computed_anew(parts, damage, caplog):
    settings = {"sizes": "32", "mosaic": 0.0}
    fill(parts(**settings)[2])
    (path,) = features_folder().glob("*.features")
    data = path.read_bytes()
    flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    path.write_bytes({"flipped": flipped, "cut": data[:-100], "longer": data + b"x", "foreign": b"GIF89a"}[damage])
    with caplog.at_level(logging.WARNING):
        _, told = fill(parts(**settings)[2])
    assert f"{path}: " in caplog.text
    assert "damaged or another program's. The features are computed anew." in caplog.text
    assert told[-1].done == told[-1].views
    assert path.read_bytes() == data


def key(cache):
    return [cache._key(kind) for kind in cache.batches.kinds()]


def test_other_weights_photos_or_labels_are_other_features(parts, small_model, rectangles, tmp_path):
    usual = key(parts()[2])
    assert key(parts()[2]) == usual
    arrays = dict(small_model.arrays)
    arrays["linear/bias"] = arrays["linear/bias"] + 1  # not frozen
    assert key(parts(model=type(small_model)("m", small_model.spec, arrays))[2]) == usual
    arrays["conv2/gamma"] = arrays["conv2/gamma"] * np.float32(1.001)
    assert not set(key(parts(model=type(small_model)("m", small_model.spec, arrays))[2])) & set(usual)
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    assert key(parts(dataset=copy)[2]) == usual
    photo = copy / "JPEGImages/picture00.png"
    photo.write_bytes((copy / "JPEGImages/picture01.png").read_bytes())
    assert not set(key(parts(dataset=copy)[2])) & set(usual)


def test_every_option_that_changes_a_view_is_in_its_key(rectangles, small_model):
    samples = read_set(rectangles, "val")

    def looks(**settings):
        batches = Batches(samples, small_model.spec, Config.model_construct(**(SETTINGS | settings)))
        return [batches.view(Kind(64, True), ViewId(0, view)).pixels.tobytes() for view in range(4)]

    usual = looks()
    changed = set()
    for name, field in Config.model_fields.items():
        value = SETTINGS.get(name, field.default)
        if name in ("cache_features", "cache_gigabytes", "overfit", "multi_scale") or not isinstance(value, int | float):
            continue
        if looks(**{name: another(value, field)}) != usual:
            changed.add(name)
    assert changed - set(OPTIONS) == set()
    assert {"seed", "scale", "flip", "hue", "mosaic"} <= changed


def another(value, field):
    """A value that the option may have too."""
    if isinstance(value, bool):
        return not value
    upper = min((rule.le for rule in field.metadata if hasattr(rule, "le")), default=1)
    smaller = value / 2 if isinstance(value, float) else value // 2
    larger = upper * 0.9 if isinstance(value, float) else value + 1
    return larger if value < larger <= upper * 0.9 or isinstance(value, int) else smaller


def test_how_large_the_features_would_be_is_said_before_anything_is_computed(parts):
    with pytest.raises(ConfigError, match=r"cache_features: \d+ views would take 0\.\d\d GB on disk, more than cache_gigabytes 1e-05"):
        parts(cache_gigabytes=1e-5)
    assert not features_folder().exists()


@pytest.mark.parametrize("settings", [{"freeze": "linear"}, {"epochs": 1, "unfreeze_at": 0.01}])
def test_there_must_be_something_to_keep(parts, settings):
    with pytest.raises(ConfigError, match="no layer is frozen below one that trains, or in no step of the run"):
        parts(**settings)


@pytest.mark.parametrize("settings", [{"freeze": "none"}, {"unfreeze_at": 0.0}, {"multi_scale": 2}])
def test_options_that_do_not_go_with_kept_features_are_refused(settings):
    with pytest.raises(ConfigError, match="cache_features keeps what frozen layers say at the sizes of the plan"):
        Config.of(SETTINGS | settings)


def test_what_was_used_longest_ago_makes_room():
    def rows(key):
        return FeatureFile(key * 64, 10, np.dtype([("conv1", np.float32, (4, 4, 2))]))

    for age, name in enumerate("abc"):
        rows(name).make_room(10**6)
        rows(name).write([np.zeros(10, rows(name).type)])
        os.utime(rows(name).path, (1000 + age, 1000 + age))
    rows("a").open()
    killed = features_folder() / ".0123.part"
    killed.write_bytes(b"half")
    os.utime(killed, (1000, 1000))
    rows("d").make_room(3 * rows("d").size)
    assert [rows(name).path.exists() for name in "abc"] == [True, False, True]
    assert not killed.exists()


def test_a_full_disk_is_said_before_it_is_full(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 5))
    with pytest.raises(TrainingError, match=r"the features of 10 views need 0\.00 GB and the disk has 0\.00 GB left"):
        FeatureFile("a" * 64, 10, np.dtype([("conv1", np.float32, (4, 4, 2))])).make_room(10**6)


@pytest.fixture
def begin(rectangles, small_model, tmp_path):
    """(settings) -> a new run of 12 steps: six of them on features, then six of the whole network."""
    save_model(small_model, tmp_path / "small.safetensors")
    task = Task(str(rectangles), "train", "val", str(tmp_path / "small.safetensors"))
    short = {"epochs": 4, "checkpoint_steps": 2, "check_every": 4, "unfreeze_at": 2, "sizes": "32"}
    short |= {"batch_norm": "train", "new_layers": "head", "dropout": 0.2}
    return lambda **settings: Run.new(task, Config(**(SETTINGS | short | settings)), load_model(Path(task.model)), tmp_path / "runs")


def last_arrays(path):
    return load_model(path / "last.safetensors").arrays


def test_a_run_trains_the_rest_on_features_and_then_all_and_goes_on_to_the_bit(begin):
    whole, changed = begin(), []
    before = whole.trainer.model("m", {}).arrays["conv1/kernel"]
    whole.go(lambda _: changed.append((whole.trainer.model("m", {}).arrays["conv1/kernel"] != before).any()))
    assert changed == [False] * 6 + [True] * 6
    stopped = begin()
    stopped.go(lambda row: os.kill(os.getpid(), signal.SIGINT) if row["step"] == 3 else None)
    shutil.rmtree(features_folder())  # what is computed anew is the same
    folder, task, config = RunFolder.open(stopped.folder.path)
    Run.resumed(folder, task, config, load_model(Path(task.model))).go()
    for name, array in last_arrays(whole.folder.path).items():
        assert array.tobytes() == last_arrays(stopped.folder.path)[name].tobytes()


def test_ctrl_c_while_features_are_computed_leaves_none_and_a_run_that_can_go_on(begin):
    run = begin()
    outcome = run.go(filling=lambda stand: os.kill(os.getpid(), signal.SIGINT) if stand.done == 0 else None)
    assert outcome.why.startswith("interrupted")
    assert run.progress.step == 0
    assert not list(features_folder().glob("*.features"))
    assert not list(features_folder().glob(".*.part"))
