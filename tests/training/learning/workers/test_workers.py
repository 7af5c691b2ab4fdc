"""Two workers, and three, do what one does; and what becomes of a run when one of them is killed, is asked to end, or fails."""

import json
import shutil
import signal

import numpy as np
import pytest

from training.config import Config
from training.run.checkpoints import newest_checkpoint
from training.run.folder import RunFolder, Task
from training.run.run import Run
from weights.formats.safetensors import load_model, save_model

TOLERANCE = 1e-4
MOVING = {"batch_size": 6, "epochs": 25, "sizes": "64", "batch_norm": "train", "freeze": "conv3", "unfreeze_at": 5.0}
MOVING |= {"new_layers": "head", "dropout": 0.2, "l2": 0.001, "check_every": 5, "clip_at": 1.0}
KEPT = {"batch_size": 7, "epochs": 25, "sizes": "64", "freeze": "conv3", "unfreeze_at": 25.0, "cache_features": 2}
KEPT |= {"batch_norm": "train", "check_every": 2, "checkpoint_steps": 5}


@pytest.fixture(scope="module")
def model_file(tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


@pytest.fixture(scope="module")
def alone(rectangles, model_file, tmp_path_factory):
    """(settings) -> the folder of a run that one process made."""

    def run(settings):
        task = Task(str(rectangles), "train", "val", str(model_file))
        return Run.new(task, Config(**settings), load_model(model_file), tmp_path_factory.mktemp("alone")).go().folder

    return run


def words(settings):
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same(one, other, steps):
    """Losses of all steps, measurements at checks, and at the end weights and their averages."""
    first, second = rows(one), rows(other)
    assert [row["step"] for row in first] == [row["step"] for row in second] == list(range(1, steps + 1))
    for mine, theirs in zip(first, second, strict=True):
        assert mine["size"] == theirs["size"]
        assert mine["learning_rate"] == theirs["learning_rate"]
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=TOLERANCE), mine["step"]
        assert ("val_loss" in mine) == ("val_loss" in theirs)
        if "val_loss" in mine:
            assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=TOLERANCE)
    arrays = [newest_checkpoint(folder / "checkpoints").arrays for folder in (one, other)]
    assert arrays[0].keys() == arrays[1].keys()
    for name in (name for name in arrays[0] if not name.startswith("optimizer/")):
        np.testing.assert_allclose(arrays[1][name], arrays[0][name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.fixture(scope="module")
def two(workers, rectangles, model_file, tmp_path_factory):
    """Two workers that have made a run, and a short one from its best weights, and published that: the chief's folder, and the other's."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "models").mkdir()
    (folder / "moving.toml").write_text(Config(**MOVING).to_toml(), encoding="utf-8")
    (folder / "short.toml").write_text('epochs = 1\nbatch_size = 6\nsizes = "64"\nfreeze = "all-but-head"\n', encoding="utf-8")
    more = ["--then", folder / "short.toml", "--publish", folder / "models", "--publish-as", "both"]
    command = [rectangles, "--model", model_file, "--config", folder / "moving.toml", *more]
    with workers(command, [rectangles]) as (chief, other):  # the other takes its options from the chief
        for worker in (chief, other):
            code, told = worker.end()
            assert code == 0, told
            assert told.count("all epochs are done.") == 2
    return chief.folder, other.folder, folder / "models"


def test_two_workers_are_one_with_both_their_photos(alone, two, rectangles):
    assert_same(alone(MOVING), two[0] / "runs" / f"{rectangles.name}-001", 50)
    assert (two[0] / "runs" / f"{rectangles.name}-001" / "report.html").is_file()
    assert list(two[1].iterdir()) == []


def test_a_run_that_follows_goes_from_the_best_weights_and_the_chief_publishes_its_own(two, rectangles):
    first, second = (two[0] / "runs" / f"{rectangles.name}-00{number}" for number in (1, 2))
    assert RunFolder.open(second)[1].model == str(first / "best.safetensors")
    assert [row["step"] for row in rows(second)] == [1, 2]
    (published,) = two[2].rglob("*.safetensors")
    assert published.parent.parent == two[2] / "both"
    assert published.read_bytes() == (second / "best.safetensors").read_bytes()


def test_a_killed_worker_ends_the_run_with_a_sentence_and_any_number_goes_on_with_it(alone, workers, rectangles, model_file):
    command = [rectangles, "--model", model_file, *words(KEPT)]
    with workers(command, command) as (chief, other):
        chief.until("step 8,")
        other.process.send_signal(signal.SIGKILL)
        code, told = chief.end(timeout=60)
    run = chief.folder / "runs" / f"{rectangles.name}-001"
    assert code == 2
    sentence = told.rpartition("boxwright: ")[2].strip()
    assert sentence.startswith(("worker 1 (127.0.0.1:", "another worker is gone"))
    assert f"--resume runs/{run.name} goes on from it. Any number of workers will do." in sentence
    assert json.loads((run / "outcome.json").read_text(encoding="utf-8"))["why"] == sentence
    assert newest_checkpoint(run / "checkpoints").state["step"] >= 5

    resume = ["--resume", run]
    with workers(resume, [rectangles], resume) as three:
        three[1].until("step 8,")
        three[1].process.send_signal(signal.SIGINT)
        for code, told in [worker.end() for worker in three]:
            assert code == 0, told
            assert "interrupted" in told
    folder, task, config = RunFolder.open(run)
    Run.resumed(folder, task, config, load_model(model_file)).go()
    assert_same(alone(KEPT), run, 50)


def test_a_worker_that_fails_tells_the_others_why(workers, rectangles, model_file, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    for photo in (copy / "JPEGImages").glob("*.png"):
        photo.write_bytes(bytes(photo.stat().st_size))
    command = ["--model", model_file, *words(MOVING)]
    with workers([rectangles, *command], [copy, *command], tf_config=True) as (chief, other):
        reason, told = other.end(), chief.end(timeout=60)
    assert reason[0] == told[0] == 2
    why = reason[1].rpartition("boxwright: ")[2].strip()
    assert "the image format is unknown" in why
    assert told[1].rpartition("boxwright: ")[2].startswith("worker 1 (127.0.0.1:")
    assert f"has ended the run: {why}" in told[1]
    assert "--resume runs/" in told[1]
