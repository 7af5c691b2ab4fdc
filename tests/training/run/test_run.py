"""Complete runs write their files, and runs that cannot continue end with advice."""

import csv
import dataclasses
import json
import math
import re
import shutil

import httpx
import numpy as np
import pytest
import tensorflow as tf

from detector.boxes.geometry import box_iou
from detector.detector import Detector
from detector.engines import load_engine
from tests.training.run.runs import SHORT, resume, step_metrics
from training.config.options import Config
from training.config.task import Task
from training.data.voc_reader import read_set
from training.errors import ConfigError, DatasetError, TrainingError
from training.evaluation.evaluate import evaluate_detector
from training.run.checkpoints import newest_checkpoint
from training.run.run import Run
from training.run.validation import Validator
from weights.formats.safetensors import load_model
from weights.hub.resolve import resolve_model


def test_validation_loss_is_the_mean_over_the_images(new_run):
    run = new_run(batch_size=2)
    assert len(run.setup.val) == 3
    engine = load_engine(run.trainer.model("now", {}))
    single = [Validator(dataclasses.replace(run.setup, val=[sample]), run.trainer) for sample in run.setup.val]
    losses, weights = [validator.loss(engine) for validator in single], [len(sample.boxes) for sample in run.setup.val]
    assert run.validator.loss(engine) == pytest.approx(np.average(losses, weights=weights), rel=1e-5)


def test_nan_validation_loss_ends_the_run_and_is_not_saved_as_best(new_run, monkeypatch):
    run = new_run(watch="loss")
    monkeypatch.setattr(Validator, "loss", lambda *_: math.nan)
    message = r"step 3: the validation loss is NaN or infinite\. Start a new run with --learning-rate \S+"
    with pytest.raises(TrainingError, match=message):
        run.train()
    assert not (run.folder.path / "best.safetensors").exists()


def test_images_in_both_sets_log_a_warning(rectangles, small_model, tmp_path, caplog):
    run = Run.new(Task(str(rectangles), "train", "train", None), Config(**SHORT), small_model, tmp_path / "runs")
    assert f"{len(run.setup.val)} of the {len(run.setup.val)} validation images are also training images" in caplog.text


def test_a_run_folder_has_options_metrics_and_usable_models(finished, rectangles):
    run, outcome = finished
    path = outcome.folder
    assert not outcome.interrupted
    assert outcome.reason == "all epochs are done."
    assert path.name.startswith(f"{rectangles.name}-")
    assert Config.read(path / "config.toml") == run.setup.config
    environment = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    assert environment["data"]["train"]["photos"] == 9
    with (path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["step"]) for row in table] == list(range(1, 13))
    assert [row["size"] for row in table] == ["32"] * 5 + ["64"] * 7
    assert [row["step"] for row in table if row["ap50"]] == ["3", "6", "9", "12"]
    ap50_by_step = {int(row["step"]): float(row["ap50"]) for row in table if row["ap50"]}
    assert outcome.best == max(ap50_by_step.values()) == ap50_by_step[outcome.best_step]
    best = load_model(path / "best.safetensors")
    assert best.spec.labels == ("blue", "red")
    assert best.provenance["fine-tuned from"] == "small-random"
    ap50 = evaluate_detector(Detector(best.spec, load_engine(best)), read_set(rectangles, "val")).ap50
    assert ap50 == pytest.approx(outcome.best)


def test_early_stopping_ends_a_run(new_run):
    outcome = new_run(epochs=30, patience=2, learning_rate=1e-9, schedule="constant").train()
    assert outcome.reason == "stopped early: no improvement in the last 2 validations."
    assert (outcome.best, outcome.best_step) == (0.0, 9)  # equal values are no improvement, but the last of them is the best
    resumed = resume(outcome.folder)
    assert resumed.state.step == 9
    assert resumed.train() == outcome


def test_nan_loss_ends_the_run_with_advice_and_keeps_the_last_checkpoint(new_run):
    settings = {"optimizer": "sgd", "learning_rate": 10.0, "clip": "none", "warmup_steps": 0, "weight_decay": 0.0, "epochs": 40}
    run = new_run(**settings, freeze="none", new_layers="output", batch_norm="frozen")
    with pytest.raises(TrainingError, match=r"step \d+: the loss is NaN or infinite \(loss terms: .*gradients: .*\)\.") as raised:
        run.train()
    advice = "Start a new run with --learning-rate 0.0003 --clip global-norm --model \\S+; --resume would repeat the same steps"
    assert re.search(advice, str(raised.value))
    events = [event for path in (run.folder.path / "tensorboard").iterdir() for event in tf.compat.v1.train.summary_iterator(str(path))]
    assert {event.step for event in events if event.summary.value} == {row["step"] for row in step_metrics(run.folder.path)}
    arrays = newest_checkpoint(run.folder.checkpoints).arrays
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": "blue,zebra"}, "the training set has no box of 'zebra'. It has blue, red"),
        ({"sizes": "100"}, "is not a multiple of 16"),
        ({"sizes": "40:0.5,64"}, "is not a multiple of 16"),
        ({"freeze": "conv99"}, "no layer 'conv99'"),
        ({"freeze": "all-but-head"}, "freeze all-but-head: layer conv6 has new random weights and must be trained"),
        ({"new_layers": "all"}, "freeze conv3: layer conv1 has new random weights and must be trained"),
    ],
)
def test_options_that_contradict_data_or_model_are_refused_before_a_folder_is_created(new_run, finished, settings, message):
    runs = sorted(finished[1].folder.parent.iterdir())
    with pytest.raises(ConfigError, match=message):
        new_run(**settings)
    assert sorted(finished[1].folder.parent.iterdir()) == runs


@pytest.fixture(scope="module")
def memorised(shared, tmp_path_factory):
    """The outcome of a run on only eight images of raccoons, and the first of these samples."""
    task = Task(str(shared / "data/raccoon"), "train", "val", None)
    settings = {"overfit": 8, "epochs": 24, "check_every": 8, "unfreeze_at": 24, "cache_features": 1, "warmup_steps": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOXWRIGHT_HOME", str(tmp_path_factory.mktemp("home")))
        run = Run.new(task, Config(**settings, learning_rate=0.001), resolve_model(None), tmp_path_factory.mktemp("memorised"))
        return run.train(), run.setup.batches.samples[0]


@pytest.mark.slow
def test_eight_images_can_be_memorised(memorised):
    assert memorised[0].best >= 0.95


@pytest.mark.slow
def test_the_service_detects_a_raccoon_with_the_trained_model(memorised, start_service):
    outcome, sample = memorised
    service = start_service(outcome.folder / "best.safetensors")
    try:
        response = httpx.post(f"{service.url}/detect", content=sample.image_path.read_bytes()).json()
    finally:
        service.stop()
    assert response["model"] == outcome.folder.name
    detection = response["detections"][0]
    assert (detection["label"], detection["score"] > 0.5) == ("raccoon", True)
    box = np.array([[detection["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]], np.float32)
    assert box_iou(box, sample.boxes).max() > 0.7


def test_a_validation_set_without_boxes_of_the_labels_is_refused(rectangles, small_model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    for xml in (copy / "Annotations").glob("*.xml"):
        if xml.stem >= "picture09":
            xml.write_text("<annotation></annotation>", encoding="utf-8")
    with pytest.raises(DatasetError, match="set val has no box of blue, red"):
        Run.new(Task(str(copy), "train", "val", None), Config(**SHORT), small_model, tmp_path / "runs")
