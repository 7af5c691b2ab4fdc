"""Cached features: training on them gives the same result as training on the views that they were computed from."""

import logging
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from training.config.options import Config
from training.config.task import Task
from training.data.batches import Batches, ViewId, ViewKind
from training.data.voc_reader import read_set
from training.errors import ConfigError, TrainingError
from training.events import Events
from training.features.cache import VIEW_OPTIONS, FeatureCache
from training.features.file import FeatureFile, features_folder
from training.modeling.transfer import frozen_layers, transfer
from training.run.folder import RunFolder
from training.run.run import Run
from training.run.trainer import Trainer
from weights.formats.safetensors import load_model, save_model

SETTINGS = {"batch_size": 3, "epochs": 6, "sizes": "32:0.4,64", "freeze": "backbone", "unfreeze_at": 6, "cache_features": 2}
SETTINGS |= {"mosaic": 0.5, "mosaic_until": 0.7, "prior_photos": 0, "warmup_steps": 0}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))


@pytest.fixture
def make_training(rectangles, small_model):
    """(settings) -> a function that creates a trainer, its batches and its cache."""

    def make(model=small_model, dataset=rectangles, **settings):
        config = Config(**(SETTINGS | settings))
        start = transfer(model, ("blue", "red"), model.spec.anchors, config)
        batches = Batches(read_set(dataset, "train"), start.model.spec, config, augmented=not config.overfit)
        frozen = frozen_layers(start.model.spec.network, config.freeze)
        return (lambda: Trainer(start, config, frozen)), batches, FeatureCache.create(start.model, frozen, batches)

    return make


class RecordProgress(Events):
    def __init__(self):
        self.progress = []

    def features_cached(self, progress):
        self.progress.append(progress)


def fill(cache, first=0, last=None):
    """Return all batches and the reported progress."""
    events = RecordProgress()
    last = cache.batches.view_steps if last is None else last
    return list(cache.stream(first, last, events, lambda: False)), events.progress


CASES = [{"freeze": "backbone"}, {"freeze": "all-but-head", "l2": 0.1}, {"freeze": "conv7", "dropout": 0.3}]
CASES += [{"batch_norm": "train", "new_layers": "head"}]


@pytest.mark.parametrize("settings", CASES)
def test_steps_on_cached_features_equal_steps_on_the_views(make_training, settings):
    settings |= {"epochs": 2, "sizes": "64", "optimizer": "momentum"}
    trainer, batches, cache = make_training(**settings)
    first, second = trainer(), trainer()
    before = first.model("before", {}).arrays
    for step, (features, targets) in enumerate(fill(cache)[0]):
        images, same_targets = batches.batch(step)
        for name, target in same_targets.items():
            np.testing.assert_array_equal(targets[name], target)
        on_image_step = first.step(images, targets, number=step, learning_rate=1e-4)
        on_feature_step = second.step(features, targets, number=step, learning_rate=1e-4)
        assert on_feature_step.loss == pytest.approx(on_image_step.loss, rel=1e-4)
        assert on_feature_step.gradients == pytest.approx(on_image_step.gradients, rel=1e-3)
    on_images, on_features = first.model("m", {}).arrays, second.model("m", {}).arrays
    changed = {name for name, array in before.items() if (array != on_images[name]).any()}
    assert {"linear/kernel", "linear/bias"} <= changed
    assert not any(name.startswith(("conv1", "conv4/", "conv5")) for name in changed)
    for name, array in on_images.items():
        change = np.linalg.norm(array - before[name])
        assert np.linalg.norm(on_features[name] - array) <= 1e-3 * change, name


def test_views_depend_only_on_the_seed_and_alternate_by_epoch(make_training):
    _, batches, _ = make_training()
    (images, _), count = batches.batch(4), len(batches.samples)
    for index, view_id in enumerate(batches.view_ids(4)):
        np.testing.assert_array_equal(images[index], batches.view(batches.view_kind(4), view_id).pixels)
    other = make_training()[1]
    np.testing.assert_array_equal(other.batch(4)[0], images)
    used_views = [view_id for step in range(batches.steps) for view_id in batches.view_ids(step)]
    for epoch in range(batches.config.epochs):
        assert sorted(used_views[epoch * count : (epoch + 1) * count]) == [ViewId(image, epoch % 2) for image in range(count)]
    assert list(batches.views_by_kind()) == [ViewKind(32, True), ViewKind(64, True), ViewKind(64, False)]
    first, second = (batches.view(ViewKind(64, False), ViewId(0, view)).pixels for view in (0, 1))
    assert (first != second).any()


def test_only_used_views_are_computed(make_training):
    _, batches, cache = make_training(cache_features=100, sizes="64", mosaic=0.0)
    _, progress = fill(cache)
    assert progress[-1].done == progress[-1].total == batches.steps * 3
    _, batches, cache = make_training(overfit=4, sizes="64")
    _, progress = fill(cache)
    assert progress[-1].total == len(batches.samples)


def test_features_are_computed_once(make_training):
    first, progress = fill(make_training()[2])
    assert [each.done for each in progress if each.done == 0] == [0, 0, 0]
    assert {path.stat().st_size for path in features_folder().glob("*.features")} == {each.file_size for each in progress}
    second, progress = fill(make_training(learning_rate=0.1, l2=0.5)[2])
    assert progress == []
    for (features, targets), (same, same_targets) in zip(first, second, strict=True):
        for cached, reread in ((features, same), (targets, same_targets)):
            assert all(cached[name].tobytes() == reread[name].tobytes() for name in cached)


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "foreign"])
def test_a_damaged_file_is_detected_and_computed_again(make_training, damage, caplog):
    settings = {"sizes": "32", "mosaic": 0.0}
    fill(make_training(**settings)[2])
    (path,) = features_folder().glob("*.features")
    data = path.read_bytes()
    flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    path.write_bytes({"flipped": flipped, "cut": data[:-100], "longer": data + b"x", "foreign": b"GIF89a"}[damage])
    with caplog.at_level(logging.WARNING):
        _, progress = fill(make_training(**settings)[2])
    assert f"{path}: the file is damaged: " in caplog.text
    assert ". The features are computed again." in caplog.text
    assert progress[-1].done == progress[-1].total
    assert path.read_bytes() == data


def key(cache):
    return [cache._key(kind) for kind in cache.batches.views_by_kind()]


def test_the_key_depends_on_weights_images_and_labels(make_training, small_model, rectangles, tmp_path):
    expected = key(make_training()[2])
    assert key(make_training()[2]) == expected
    arrays = dict(small_model.arrays)
    arrays["linear/bias"] = arrays["linear/bias"] + 1  # not frozen
    assert key(make_training(model=type(small_model)("m", small_model.spec, arrays))[2]) == expected
    arrays["conv2/gamma"] = arrays["conv2/gamma"] * np.float32(1.001)
    assert not set(key(make_training(model=type(small_model)("m", small_model.spec, arrays))[2])) & set(expected)
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    assert key(make_training(dataset=copy)[2]) == expected
    image = copy / "JPEGImages/picture00.png"
    image.write_bytes((copy / "JPEGImages/picture01.png").read_bytes())
    assert not set(key(make_training(dataset=copy)[2])) & set(expected)


def test_the_key_has_every_option_that_changes_a_view(rectangles, small_model):
    samples = read_set(rectangles, "val")

    def views(**settings):
        batches = Batches(samples, small_model.spec, Config.model_construct(**(SETTINGS | settings)))
        return [batches.view(ViewKind(64, True), ViewId(0, view)).pixels.tobytes() for view in range(4)]

    default = views()
    changed = set()
    for name, field in Config.model_fields.items():
        value = SETTINGS.get(name, field.default)
        if name in ("cache_features", "cache_gigabytes", "overfit", "multi_scale") or not isinstance(value, int | float):
            continue
        if views(**{name: other_valid_value(value, field)}) != default:
            changed.add(name)
    assert changed - set(VIEW_OPTIONS) == set()
    assert {"seed", "scale", "flip", "hue", "mosaic"} <= changed


def other_valid_value(value, field):
    """Return another valid value of an option."""
    if isinstance(value, bool):
        return not value
    upper = min((rule.le for rule in field.metadata if hasattr(rule, "le")), default=1)
    smaller = value / 2 if isinstance(value, float) else value // 2
    larger = upper * 0.9 if isinstance(value, float) else value + 1
    return larger if value < larger <= upper * 0.9 or isinstance(value, int) else smaller


def test_too_large_features_are_refused_before_they_are_computed(make_training):
    with pytest.raises(ConfigError, match=r"cache_features: \d+ views need 0\.\d\d GB on disk, more than cache_gigabytes 1e-05"):
        make_training(cache_gigabytes=1e-5)
    assert not features_folder().exists()


@pytest.mark.parametrize("settings", [{"freeze": "linear"}, {"epochs": 1, "unfreeze_at": 0.01}])
def test_a_cache_without_frozen_steps_is_refused(make_training, settings):
    with pytest.raises(ConfigError, match="the run has no step in which the first layers of the network are frozen"):
        make_training(**settings)


@pytest.mark.parametrize("settings", [{"freeze": "none"}, {"unfreeze_at": 0.0}, {"multi_scale": 2}])
def test_options_that_do_not_fit_cached_features_are_refused(settings):
    with pytest.raises(ConfigError, match="cache_features stores the outputs of frozen layers at the planned input sizes"):
        Config.of(SETTINGS | settings)


def test_the_least_recently_used_file_is_deleted_to_make_room():
    def feature_file(key):
        return FeatureFile(key * 64, 10, np.dtype([("conv1", np.float32, (4, 4, 2))]))

    for age, name in enumerate("abc"):
        feature_file(name).make_room(10**6)
        feature_file(name).write([np.zeros(10, feature_file(name).type)])
        os.utime(feature_file(name).path, (1000 + age, 1000 + age))
    feature_file("a").open()
    abandoned = features_folder() / ".0123.part"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (1000, 1000))
    feature_file("d").make_room(3 * feature_file("d").size)
    assert [feature_file(name).path.exists() for name in "abc"] == [True, False, True]
    assert not abandoned.exists()


def test_too_little_disk_space_is_refused_in_advance(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 5))
    with pytest.raises(TrainingError, match=r"the features of 10 views need \d+\.\d MB, but the disk has \d+\.\d MB\."):
        FeatureFile("a" * 64, 10, np.dtype([("conv1", np.float32, (4, 4, 2))])).make_room(10**6)


@pytest.fixture
def new_run(rectangles, small_model, tmp_path):
    """(settings) -> a new run of 12 steps: six on cached features, then six on the complete network."""
    save_model(small_model, tmp_path / "small.safetensors")
    task = Task(str(rectangles), "train", "val", str(tmp_path / "small.safetensors"))
    short = {"epochs": 4, "checkpoint_steps": 2, "check_every": 4, "unfreeze_at": 2, "sizes": "32"}
    short |= {"batch_norm": "train", "new_layers": "head", "dropout": 0.2}
    return lambda **settings: Run.new(task, Config(**(SETTINGS | short | settings)), load_model(Path(task.model)), tmp_path / "runs")


class OnStep(Events):
    def __init__(self, action):
        self.step_finished = action


def last_arrays(path):
    return load_model(path / "last.safetensors").arrays


def test_a_run_with_cached_features_resumes_bit_for_bit(new_run):
    uninterrupted, changed = new_run(), []
    before = uninterrupted.trainer.model("m", {}).arrays["conv1/kernel"]

    def record_change(_):
        changed.append((uninterrupted.trainer.model("m", {}).arrays["conv1/kernel"] != before).any())

    uninterrupted.train(OnStep(record_change))
    assert changed == [False] * 6 + [True] * 6
    stopped = new_run()
    stopped.train(OnStep(lambda metrics: os.kill(os.getpid(), signal.SIGINT) if metrics["step"] == 3 else None))
    shutil.rmtree(features_folder())  # recomputed features are the same
    folder, task, config = RunFolder.open(stopped.folder.path)
    Run.resume(folder, task, config, load_model(Path(task.model))).train()
    for name, array in last_arrays(uninterrupted.folder.path).items():
        assert array.tobytes() == last_arrays(stopped.folder.path)[name].tobytes()


def test_ctrl_c_while_features_are_computed_leaves_no_file(new_run):
    class InterruptAtOnce(Events):
        def features_cached(self, progress):
            if progress.done == 0:
                os.kill(os.getpid(), signal.SIGINT)

    run = new_run()
    outcome = run.train(InterruptAtOnce())
    assert outcome.reason.startswith("interrupted")
    assert run.state.step == 0
    assert not list(features_folder().glob("*.features"))
    assert not list(features_folder().glob(".*.part"))
