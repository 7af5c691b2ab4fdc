"""Whole runs: what they leave behind, and that they go on to the same weights to the bit whatever interrupts them."""

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

from detector.boxes import box_iou
from detector.detector import Detector
from detector.engines import load_engine
from training.checkpoints import newest_checkpoint
from training.config import Config
from training.errors import CheckpointError, ConfigError, DatasetError, TrainingError
from training.evaluate import evaluate
from training.finetune import Run
from training.run_folder import RunFolder, Task
from training.voc import read_set
from weights.model_file import load_model, save_model
from weights.resolve import load

ROOT = Path(__file__).resolve().parents[3]
SHORT = {"epochs": 4, "batch_size": 3, "sizes": "32:0.4,64", "checkpoint_steps": 2, "freeze": "conv3", "unfreeze_at": 2, "check_every": 1}
SHORT |= {"new_layers": "head", "batch_norm": "train", "dropout": 0.2, "warmup_steps": 3, "schedule": "performance", "plateau_patience": 1}


@pytest.fixture(scope="module")
def begin(rectangles, small_model, tmp_path_factory):
    """(settings) -> a new run from the small model, whose file is beside the runs."""
    folder = tmp_path_factory.mktemp("training")
    save_model(small_model, folder / "small.safetensors")
    task = Task(str(rectangles), "train", "val", str(folder / "small.safetensors"))
    return lambda **settings: Run.new(task, Config(**(SHORT | settings)), load_model(Path(task.model)), folder / "runs")


@pytest.fixture(scope="module")
def whole(begin):
    """A run that nothing interrupted, of 12 steps."""
    run = begin()
    return run, run.go()


def resume(path):
    folder, task, config = RunFolder.open(path)
    return Run.resumed(folder, task, config, load_model(Path(task.model)))


def assert_same_end(one, other):
    """All weights, optimiser slots and averages, and the model files' arrays, to the bit."""
    first, second = (newest_checkpoint(path / "checkpoints") for path in (one, other))
    assert first.state == second.state
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        assert array.tobytes() == second.arrays[name].tobytes(), name
    for name in ("best", "last"):
        models = [load_model(path / f"{name}.safetensors") for path in (one, other)]
        assert all(models[0].arrays[key].tobytes() == models[1].arrays[key].tobytes() for key in models[0].arrays)


def rows(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: row[key] for key in row if key not in ("layers", "sentences")} for row in lines]  # these look back over many steps


DRIVER = """
import sys
from pathlib import Path
from training.finetune import Run
from training.run_folder import RunFolder
from weights.model_file import load_model
folder, task, config = RunFolder.open(Path(sys.argv[1]))
run = Run.resumed(folder, task, config, load_model(Path(task.model)))
run.go(lambda row: print(row["step"], flush=True))
"""


def run_until(path, lines):
    """Go on with the run in a process of its own, and kill it when it has told of so many steps."""
    command = [sys.executable, "-c", DRIVER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        errors = process.stderr.read()
    assert all(told), errors
    assert process.returncode == -signal.SIGKILL


def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights_to_the_bit(begin, whole):
    killed, rng = begin(), random.Random(1)
    assert not killed.folder.was_saved  # as a kill leaves it that comes before the first step
    for _ in range(2):
        run_until(killed.folder.path, rng.randint(3, 5))
    resumed = resume(killed.folder.path)
    assert 0 < resumed.progress.step < resumed.batches.steps
    resumed.go()
    assert_same_end(whole[1].folder, killed.folder.path)
    assert rows(whole[1].folder) == rows(killed.folder.path)


def test_a_run_that_goes_on_with_another_number_of_threads_says_that_last_bits_will_differ(begin, monkeypatch, caplog):
    run = begin()
    threads = run.folder.environment()["threads"]
    run._save_checkpoint()
    resume(run.folder.path)
    assert not caplog.records
    monkeypatch.setattr("training.finetune.arithmetic_threads", lambda: threads + 1)
    resume(run.folder.path)
    assert f"began with {threads} threads and goes on with {threads + 1}" in caplog.text
    assert f"TF_NUM_INTRAOP_THREADS={threads}" in caplog.text


def test_a_run_that_goes_on_with_other_versions_says_so(begin, caplog):
    run = begin()
    path = run.folder.path / "environment.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(told | {"packages": told["packages"] | {"keras": "3.0.0"}}), encoding="utf-8")
    resume(run.folder.path)
    assert f"began with keras 3.0.0 and now {told['packages']['keras']}." in caplog.text


def test_a_run_does_not_go_on_from_another_model(begin):
    run = begin()
    model = load_model(Path(run.task.model))
    name = next(name for name in model.arrays if name.endswith("/kernel"))
    other = dataclasses.replace(model, arrays=model.arrays | {name: model.arrays[name] + np.float32(1)})
    with pytest.raises(TrainingError, match="the model that it starts with has changed"):
        Run.resumed(run.folder, run.task, run.config, other)


def test_checkpoints_that_are_all_damaged_are_no_beginning(begin):
    run = begin(epochs=1)
    run._save_checkpoint()
    for path in run.folder.checkpoints.iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint that can be read"):
        resume(run.folder.path)


def test_val_loss_is_the_mean_over_the_photos(begin):
    run = begin(batch_size=2)
    assert len(run.val) == 3
    engine = load_engine(run.trainer.model("now", {}))
    each = [Run._val_loss(dataclasses.replace(run, val=[sample]), engine) for sample in run.val]
    assert run._val_loss(engine) == pytest.approx(np.average(each, weights=[len(sample.boxes) for sample in run.val]), rel=1e-5)


def test_a_val_loss_that_is_no_number_ends_in_a_sentence_and_is_not_the_best(begin, monkeypatch):
    run = begin(watch="loss")
    monkeypatch.setattr(Run, "_val_loss", lambda *_: math.nan)
    with pytest.raises(TrainingError, match=r"step 3: the loss on val is NaN or infinite\. Start a new run with --learning-rate \S+"):
        run.go()
    assert not (run.folder.path / "best.safetensors").exists()


def test_photos_to_check_on_that_are_learned_from_are_told_of(rectangles, small_model, tmp_path, caplog):
    run = Run.new(Task(str(rectangles), "train", "train", None), Config(**SHORT), small_model, tmp_path / "runs")
    assert f"{len(run.val)} of the {len(run.val)} photos to check on are among those to learn from" in caplog.text


def test_ctrl_c_saves_first_and_the_run_goes_on_from_there(begin, whole):
    stopped = begin()
    outcome = stopped.go(lambda row: os.kill(os.getpid(), signal.SIGINT) if row["step"] == 5 else None)
    assert outcome.interrupted
    assert outcome.why.startswith("interrupted")
    assert newest_checkpoint(outcome.folder / "checkpoints").state["step"] == 5
    resume(outcome.folder).go()
    assert_same_end(whole[1].folder, stopped.folder.path)


def test_a_run_leaves_its_options_its_numbers_and_models_that_detect(whole, rectangles):
    run, outcome = whole
    path = outcome.folder
    assert not outcome.interrupted
    assert outcome.why == "all epochs are done."
    assert path.name.startswith(f"{rectangles.name}-")
    assert Config.read(path / "config.toml") == run.config
    environment = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    assert environment["data"]["train"]["photos"] == 9
    with (path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["step"]) for row in table] == list(range(1, 13))
    assert [row["size"] for row in table] == ["32"] * 5 + ["64"] * 7
    assert [row["step"] for row in table if row["ap50"]] == ["3", "6", "9", "12"]
    checks = {int(row["step"]): float(row["ap50"]) for row in table if row["ap50"]}
    assert outcome.best == max(checks.values()) == checks[outcome.best_step]
    best = load_model(path / "best.safetensors")
    assert best.spec.labels == ("blue", "red")
    assert best.provenance["fine-tuned from"] == "small-random"
    measured = evaluate(Detector(best.spec, load_engine(best)), read_set(rectangles, "val")).ap50
    assert measured == pytest.approx(outcome.best)


def test_patience_ends_a_run(begin):
    outcome = begin(epochs=30, patience=2, learning_rate=1e-9, schedule="constant").go()
    assert outcome.why == "no progress for as long as patience lasts."
    assert outcome.best_step == 3
    again = resume(outcome.folder)
    assert again.progress.step == 9
    assert again.go() == outcome


def test_a_loss_that_is_no_number_ends_in_a_sentence_and_leaves_the_last_checkpoint(begin):
    settings = {"optimizer": "sgd", "learning_rate": 10.0, "clip": "none", "warmup_steps": 0, "weight_decay": 0.0, "epochs": 40}
    run = begin(**settings, freeze="none", new_layers="output", batch_norm="frozen")
    with pytest.raises(TrainingError, match=r"step \d+: the loss is NaN or infinite \(terms .*gradients of .*") as raised:
        run.go()
    advice = "Start a new run with --learning-rate 1 --clip global-norm --model \\S+; --resume would come to the same error"
    assert re.search(advice, str(raised.value))
    arrays = newest_checkpoint(run.folder.checkpoints).arrays
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_run_does_not_go_on_with_other_data(begin, rectangles, tmp_path):
    run = begin(epochs=1)
    run._save_checkpoint()
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    listed = copy / "ImageSets/Main/train.txt"
    listed.write_text("\n".join(listed.read_text(encoding="utf-8").split()[:-1]), encoding="utf-8")
    told = json.loads((run.folder.path / "run.json").read_text(encoding="utf-8"))
    (run.folder.path / "run.json").write_text(json.dumps(told | {"dataset": str(copy)}), encoding="utf-8")
    with pytest.raises(TrainingError, match="the data set has changed"):
        resume(run.folder.path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"labels": "blue,zebra"}, "no box of 'zebra' in the training set; there are blue, red"),
        ({"sizes": "100"}, "is not a multiple of 16"),
        ({"sizes": "40:0.5,64"}, "is not a multiple of 16"),
        ({"freeze": "conv99"}, "no layer 'conv99'"),
        ({"freeze": "all-but-head"}, "freeze all-but-head: conv6 starts anew and would stay at random"),
        ({"new_layers": "all"}, "freeze conv3: conv1 starts anew and would stay at random"),
    ],
)
def test_options_that_do_not_fit_data_or_model_are_refused_before_anything_is_written(begin, whole, settings, sentence):
    runs = sorted(whole[1].folder.parent.iterdir())
    with pytest.raises(ConfigError, match=sentence):
        begin(**settings)
    assert sorted(whole[1].folder.parent.iterdir()) == runs


@pytest.fixture(scope="module")
def by_heart(shared, tmp_path_factory):
    """How a run ended that saw the same eight photos of raccoons again and again, and the first of them."""
    task = Task(str(shared / "data/raccoon"), "train", "val", None)
    settings = {"overfit": 8, "epochs": 24, "check_every": 8, "unfreeze_at": 24, "cache_features": 1, "warmup_steps": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOXWRIGHT_HOME", str(tmp_path_factory.mktemp("home")))
        run = Run.new(task, Config(**settings, learning_rate=0.001), load(None), tmp_path_factory.mktemp("heart"))
        return run.go(), run.batches.samples[0]


def test_eight_photos_are_learned_by_heart(by_heart):
    assert by_heart[0].best >= 0.95


def test_the_result_serves_post_a_raccoon_and_get_a_raccoon(by_heart, start_service):
    outcome, sample = by_heart
    service = start_service(outcome.folder / "best.safetensors")
    try:
        answer = httpx.post(f"{service.url}/detect", content=sample.photo.read_bytes()).json()
    finally:
        service.stop()
    assert answer["model"] == outcome.folder.name
    found = answer["detections"][0]
    assert (found["label"], found["score"] > 0.5) == ("raccoon", True)
    box = np.array([[found["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]], np.float32)
    assert box_iou(box, sample.boxes).max() > 0.7


NARROW = """
import resource, sys
from pathlib import Path
from training.errors import TrainingError
from training.finetune import Run
from training.run_folder import RunFolder
from weights.model_file import load_model
folder, task, config = RunFolder.open(Path(sys.argv[1]))
run = Run.resumed(folder, task, config, load_model(Path(task.model)))
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
try:
    run.go()
except TrainingError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's means")
def test_where_memory_is_out_a_run_ends_in_a_sentence(begin):
    run = begin(batch_size=64, sizes="1024", mosaic=0.0, freeze="none")
    run._save_checkpoint()
    command = [sys.executable, "-c", NARROW, str(run.folder.path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.startswith("out of memory after step 0. Take a smaller --batch-size or smaller --sizes."), ended.stderr
    assert f"--resume {run.folder.path}" in ended.stdout
    assert json.loads((run.folder.path / "outcome.json").read_text(encoding="utf-8"))["why"].startswith("out of memory")


def test_a_validation_set_without_a_box_of_the_labels_is_refused(rectangles, small_model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    for xml in (copy / "Annotations").glob("*.xml"):
        if xml.stem >= "picture09":
            xml.write_text("<annotation></annotation>", encoding="utf-8")
    with pytest.raises(DatasetError, match="set val has no box of blue, red"):
        Run.new(Task(str(copy), "train", "val", None), Config(**SHORT), small_model, tmp_path / "runs")
