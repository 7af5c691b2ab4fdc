"""Partially labelled images, from labelled.json to the targets: masks per cell, mosaics, cached features and validation loss."""

import json
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from training.config.options import Config
from training.config.task import Task
from training.data.batches import Batches, ViewId, ViewKind
from training.data.ground_truth import Role, ground_truth
from training.data.labelled import LABELLED_FILE
from training.data.tf_dataset import stream_batches
from training.data.voc_reader import read_set
from training.errors import TrainingError
from training.events import SILENT
from training.features.cache import FeatureCache
from training.modeling.transfer import frozen_layers, transfer
from training.optimization.loss import Loss
from training.run.folder import RunFolder
from training.run.run import Run
from weights.formats.safetensors import load_model, save_model

SETTINGS = {"batch_size": 3, "epochs": 2, "sizes": "64", "freeze": "backbone", "unfreeze_at": 2, "cache_features": 2, "mosaic": 0.6}
RED_ONLY = [f"picture{number:02d}" for number in range(0, 12, 2)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))


@pytest.fixture
def partial(rectangles, tmp_path):
    """The rectangles, with every second image labelled for red only, a difficult object in picture01 and a crowd in picture03."""
    folder = tmp_path / "partial"
    shutil.copytree(rectangles, folder)
    write_labelled(folder, {name: ["red"] for name in RED_ONLY})
    for name, tag in (("picture01", "difficult"), ("picture03", "crowd")):
        path = folder / "Annotations" / f"{name}.xml"
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        element = root.find("object")
        element.find("difficult").text = "0"
        flag = element.find(tag)
        if flag is None:
            flag = ElementTree.SubElement(element, tag)
        flag.text = "1"
        path.write_bytes(ElementTree.tostring(root))
    return folder


def write_labelled(folder, content):
    (folder / LABELLED_FILE).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def made(small_model):
    """(folder, settings) -> batches and the model to train with them."""

    def make(folder, augmented=True, **settings):
        config = Config(**(SETTINGS | settings))
        start = transfer(small_model, ("blue", "red"), small_model.spec.anchors, config)
        return Batches(read_set(folder, "train"), start.model.spec, config, augmented), start

    return make


def test_a_sample_has_the_labels_that_are_complete_in_its_image(partial):
    labelled = {sample.name: sample.labelled for sample in read_set(partial, "train")}
    assert labelled == {name: frozenset({"red"}) if name in RED_ONLY else None for name in labelled}


def test_every_cell_of_a_partially_labelled_image_has_its_mask(partial, made):
    batches, _ = made(partial, augmented=False, batch_size=2)
    labelled = batches.batch(0)[1]["labelled"]
    assert labelled.shape == (2, 4, 4, 2)
    assert (labelled[0] == [0, 1]).all()  # blue, red
    assert (labelled[1] == 1).all()


def test_without_labelled_json_every_class_is_labelled(rectangles, made):
    batches, _ = made(rectangles)
    assert all(batches.batch(step)[1]["labelled"].all() for step in range(batches.steps))


def test_the_tiles_of_a_mosaic_meet_in_its_centre_and_keep_the_labels_of_their_images(partial, made):
    batches, _ = made(partial, mosaic=1.0)
    views = [batches.view(ViewKind(64, True), ViewId(image, 0)).truth for image in range(9)]
    regions = [region for view in views for region in view.partial]
    assert len({len(view.partial) for view in views}) > 1
    assert all(region.labelled.tolist() == [False, True] for region in regions)
    for view in views:
        corners = [region.box.tolist() for region in view.partial]
        centres = {(x1 if x0 == 0 else x0, y1 if y0 == 0 else y0) for x0, y0, x1, y1 in corners}
        assert len(centres) == min(1, len(view.partial))
        assert (view.partial == ()) == bool(batches.targets([view], 64)["labelled"].all())


def test_a_new_model_may_learn_fewer_labels_than_the_data_set_has(partial):
    sample = read_set(partial, "train")[0]
    assert ground_truth(sample, ("red",), "ignore").partial == ()
    (region,) = ground_truth(sample, ("blue",), "ignore").partial
    assert region.labelled.tolist() == [False]


@pytest.mark.parametrize(("difficult", "roles"), [
    ("ignore", {"picture01": Role.IGNORED, "picture03": Role.CROWD}),
    ("train", {"picture01": Role.OBJECT, "picture03": Role.OBJECT}),
    ("background", {}),
])  # fmt: skip
def test_difficult_boxes_and_crowds_are_ignored_learned_or_background(partial, difficult, roles):
    for sample in read_set(partial, "train"):
        truth = ground_truth(sample, ("blue", "red"), difficult)
        marked = sample.name in ("picture01", "picture03")
        assert len(truth.boxes) == len(sample.boxes) - (marked and not roles)
        assert truth.roles.tolist() == [roles[sample.name] if marked and roles and index == 0 else 0 for index in range(len(truth.boxes))]


def test_cached_features_come_with_the_same_targets(partial, made):
    batches, start = made(partial)
    cache = FeatureCache.create(start.model, frozen_layers(start.model.spec.network, "backbone"), batches)
    cached = list(cache.stream(0, batches.steps, SILENT, lambda: False))
    assert len(cached) == batches.steps == 6
    for (_, targets), (_, streamed), step in zip(cached, stream_batches(batches, 0, batches.steps, threads=2), range(6), strict=True):
        for name, expected in batches.batch(step)[1].items():
            np.testing.assert_array_equal(targets[name], expected)
            np.testing.assert_array_equal(streamed[name], expected)
    assert any((targets["labelled"] == 0).any() for _, targets in cached)
    assert any(targets["crowds"].any() for _, targets in cached)


def test_the_key_of_cached_features_covers_labels_roles_and_the_option(partial, made):
    def key(**settings):
        batches, start = made(partial, **settings)
        cache = FeatureCache.create(start.model, frozen_layers(start.model.spec.network, "backbone"), batches)
        return cache._key(ViewKind(64, True))

    keys = [key(), key(difficult="train")]
    write_labelled(partial, {RED_ONLY[0]: []})
    keys.append(key())
    (partial / LABELLED_FILE).unlink()
    keys.append(key())
    assert len(set(keys)) == 4


def test_validation_loss_uses_the_masks_and_resuming_requires_the_same_labels(partial, small_model, tmp_path):
    save_model(small_model, tmp_path / "small.safetensors")
    task = Task(str(partial), "train", "val", str(tmp_path / "small.safetensors"))
    config = Config(**(SETTINGS | {"epochs": 1, "check_every": 1, "unfreeze_at": 1}))
    run = Run.new(task, config, small_model, tmp_path / "runs")
    run.train()
    assert np.isfinite(run.folder.metrics.read()[-1]["val_loss"])
    masked = sum(run.setup.val_batches.batch(0)[1]["labelled"][:, 0, 0, 0] == 0)
    assert masked == sum(sample.name in RED_ONLY for sample in run.setup.val) > 0
    folder, task, config = RunFolder.open(run.folder.path)
    Run.resume(folder, task, config, load_model(tmp_path / "small.safetensors"))
    write_labelled(partial, {RED_ONLY[0]: ["blue"]})
    with pytest.raises(TrainingError, match="the data set has changed"):
        Run.resume(folder, task, config, load_model(tmp_path / "small.safetensors"))


def test_the_loss_of_a_batch_is_that_of_the_labelled_classes(partial, made):
    batches, start = made(partial, augmented=False)
    logits = np.zeros((3, 4, 4, 2, 7), np.float32)
    logits[..., 5] = 1  # "blue" is the highest class of every prediction
    losses = {}
    for name, targets in (("partial", batches.batch(0)[1]), ("full", fully_labelled(batches).batch(0)[1])):
        terms = Loss(start.model.spec, batches.config)(logits, targets, 0)
        losses[name] = {term: float(value) for term, value in terms.items()}
    for term, value in losses["partial"].items():
        assert (value < losses["full"][term]) if term == "no_object" else (value == losses["full"][term]), term


def fully_labelled(batches):
    """Return the batches with all classes labelled in every image."""
    return replace(batches, samples=[replace(sample, labelled=None) for sample in batches.samples])
