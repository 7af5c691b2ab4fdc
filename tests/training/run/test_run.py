"""Complete runs write their files. An interrupted run that is resumed reaches the same weights, bit for bit."""

import csv
import dataclasses
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import tensorflow as tf

from detector.boxes import box_iou
from detector.detector import Detector
from detector.engines import load_engine
from training.config import Config
from training.data.voc_reader import read_set
from training.errors import CheckpointError, ConfigError, DatasetError, TrainingError
from training.evaluation.evaluate import evaluate_detector
from training.events import Events
from training.run.checkpoints import newest_checkpoint
from training.run.folder import RunFolder
from training.run.run import Run
from training.run.validation import Validator
from training.task import Task
from weights.formats.safetensors import load_model, save_model
from weights.hub.resolve import resolve_model

ROOT = Path(__file__).resolve().parents[3]
SHORT = {"epochs": 4, "batch_size": 3, "sizes": "32:0.4,64", "checkpoint_steps": 2, "freeze": "conv3", "unfreeze_at": 2, "check_every": 1}
SHORT |= {"new_layers": "head", "batch_norm": "train", "dropout": 0.2, "warmup_steps": 3, "schedule": "performance", "plateau_patience": 1}


@pytest.fixture(scope="module")
def new_run(rectangles, small_model, tmp_path_factory):
    """(settings) -> a new run that starts from the small model."""
    folder = tmp_path_factory.mktemp("training")
    save_model(small_model, folder / "small.safetensors")
    task = Task(str(rectangles), "train", "val", str(folder / "small.safetensors"))
    return lambda **settings: Run.new(task, Config(**(SHORT | settings)), load_model(Path(task.model)), folder / "runs")


@pytest.fixture(scope="module")
def finished(new_run):
    """An uninterrupted run of 12 steps, and its outcome."""
    run = new_run()
    return run, run.train()


class InterruptAtStep5(Events):
    def step_finished(self, metrics):
        if metrics["step"] == 5:
            os.kill(os.getpid(), signal.SIGINT)


def save_checkpoint_of(run):
    run.callbacks[-1].save(run)


def resume(path):
    folder, task, config = RunFolder.open(path)
    return Run.resume(folder, task, config, load_model(Path(task.model)))


def assert_equal_results(first_folder, second_folder):
    """Compare checkpoints (weights, optimizer state, averages) and model files bit for bit."""
    first, second = (newest_checkpoint(path / "checkpoints") for path in (first_folder, second_folder))
    assert first.state == second.state
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        assert array.tobytes() == second.arrays[name].tobytes(), name
    for name in ("best", "last"):
        models = [load_model(path / f"{name}.safetensors") for path in (first_folder, second_folder)]
        assert all(models[0].arrays[key].tobytes() == models[1].arrays[key].tobytes() for key in models[0].arrays)


def step_metrics(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: row[key] for key in row if key not in ("layers", "sentences")} for row in lines]  # these depend on many earlier steps


RESUME_SCRIPT = """
import sys
from pathlib import Path
from training.events import Events
from training.run.run import Run
from training.run.folder import RunFolder
from weights.formats.safetensors import load_model
folder, task, config = RunFolder.open(Path(sys.argv[1]))
run = Run.resume(folder, task, config, load_model(Path(task.model)))


class PrintSteps(Events):
    def step_finished(self, metrics):
        print(metrics["step"], flush=True)


run.train(PrintSteps())
"""


def kill_after(path, steps):
    """Resume the run in another process and kill that after a number of steps."""
    command = [sys.executable, "-c", RESUME_SCRIPT, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        printed = [process.stdout.readline() for _ in range(steps)]
        process.kill()
        errors = process.stderr.read()
    assert all(printed), errors
    assert process.returncode == -signal.SIGKILL


def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(new_run, finished):
    killed, rng = new_run(), random.Random(1)
    assert not killed.folder.has_checkpoint  # as if killed before the first step
    for _ in range(2):
        kill_after(killed.folder.path, rng.randint(3, 5))
    resumed = resume(killed.folder.path)
    assert 0 < resumed.state.step < resumed.setup.batches.steps
    resumed.train()
    assert_equal_results(finished[1].folder, killed.folder.path)
    assert step_metrics(finished[1].folder) == step_metrics(killed.folder.path)


def test_resuming_with_another_number_of_threads_logs_a_warning(new_run, monkeypatch, caplog):
    run = new_run()
    threads = run.folder.environment()["threads"]
    save_checkpoint_of(run)
    resume(run.folder.path)
    assert not caplog.records
    monkeypatch.setattr("training.run.folder.intra_op_threads", lambda: threads + 1)
    resume(run.folder.path)
    assert f"threads {threads} -> {threads + 1}" in caplog.text
    assert f"TF_NUM_INTRAOP_THREADS={threads}" in caplog.text


def test_resuming_with_other_package_versions_logs_a_warning(new_run, caplog):
    run = new_run()
    path = run.folder.path / "environment.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(recorded | {"packages": recorded["packages"] | {"keras": "3.0.0"}}), encoding="utf-8")
    resume(run.folder.path)
    assert f"keras 3.0.0 -> {recorded['packages']['keras']}." in caplog.text


def test_resuming_with_another_initial_model_is_refused(new_run):
    run = new_run()
    model = load_model(Path(run.setup.task.model))
    name = next(name for name in model.arrays if name.endswith("/kernel"))
    other = dataclasses.replace(model, arrays=model.arrays | {name: model.arrays[name] + np.float32(1)})
    with pytest.raises(TrainingError, match="the initial model has changed"):
        Run.resume(run.folder, run.setup.task, run.setup.config, other)


def test_resuming_with_only_damaged_checkpoints_is_refused(new_run):
    run = new_run(epochs=1)
    save_checkpoint_of(run)
    for path in run.folder.checkpoints.iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        resume(run.folder.path)


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


def test_ctrl_c_saves_a_checkpoint_and_the_run_can_be_resumed(new_run, finished):
    stopped = new_run()
    outcome = stopped.train(InterruptAtStep5())
    assert outcome.interrupted
    assert outcome.reason.startswith("interrupted")
    assert newest_checkpoint(outcome.folder / "checkpoints").state["step"] == 5
    resume(outcome.folder).train()
    assert_equal_results(finished[1].folder, stopped.folder.path)


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
    assert outcome.best_step == 3
    resumed = resume(outcome.folder)
    assert resumed.state.step == 9
    assert resumed.train() == outcome


def test_nan_loss_ends_the_run_with_advice_and_keeps_the_last_checkpoint(new_run):
    settings = {"optimizer": "sgd", "learning_rate": 10.0, "clip": "none", "warmup_steps": 0, "weight_decay": 0.0, "epochs": 40}
    run = new_run(**settings, freeze="none", new_layers="output", batch_norm="frozen")
    with pytest.raises(TrainingError, match=r"step \d+: the loss is NaN or infinite \(loss terms: .*gradients: .*\)\.") as raised:
        run.train()
    advice = "Start a new run with --learning-rate 1 --clip global-norm --model \\S+; --resume would repeat the same steps"
    assert re.search(advice, str(raised.value))
    events = [event for path in (run.folder.path / "tensorboard").iterdir() for event in tf.compat.v1.train.summary_iterator(str(path))]
    assert {event.step for event in events if event.summary.value} == {row["step"] for row in step_metrics(run.folder.path)}
    arrays = newest_checkpoint(run.folder.checkpoints).arrays
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_resuming_with_other_data_is_refused(new_run, rectangles, tmp_path):
    run = new_run(epochs=1)
    save_checkpoint_of(run)
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    image_list = copy / "ImageSets/Main/train.txt"
    image_list.write_text("\n".join(image_list.read_text(encoding="utf-8").split()[:-1]), encoding="utf-8")
    task = json.loads((run.folder.path / "run.json").read_text(encoding="utf-8"))
    (run.folder.path / "run.json").write_text(json.dumps(task | {"dataset": str(copy)}), encoding="utf-8")
    with pytest.raises(TrainingError, match="the data set has changed"):
        resume(run.folder.path)


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


LIMITED_MEMORY = """
import resource, sys
from pathlib import Path
from training.errors import TrainingError
from training.run.run import Run
from training.run.folder import RunFolder
from weights.formats.safetensors import load_model
folder, task, config = RunFolder.open(Path(sys.argv[1]))
run = Run.resume(folder, task, config, load_model(Path(task.model)))
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
try:
    run.train()
except TrainingError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="setrlimit limits memory only on Linux")
def test_running_out_of_memory_ends_the_run_with_advice(new_run):
    run = new_run(batch_size=64, sizes="1024", mosaic=0.0, freeze="none")
    save_checkpoint_of(run)
    command = [sys.executable, "-c", LIMITED_MEMORY, str(run.folder.path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.startswith("out of memory after step 0. Start a new run with a smaller --batch-size or smaller --sizes"), (
        result.stderr
    )
    assert f"--resume {run.folder.path}" in result.stdout
    assert json.loads((run.folder.path / "outcome.json").read_text(encoding="utf-8"))["why"].startswith("out of memory")


def test_a_validation_set_without_boxes_of_the_labels_is_refused(rectangles, small_model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    for xml in (copy / "Annotations").glob("*.xml"):
        if xml.stem >= "picture09":
            xml.write_text("<annotation></annotation>", encoding="utf-8")
    with pytest.raises(DatasetError, match="set val has no box of blue, red"):
        Run.new(Task(str(copy), "train", "val", None), Config(**SHORT), small_model, tmp_path / "runs")
