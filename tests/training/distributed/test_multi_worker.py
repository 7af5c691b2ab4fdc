"""Several workers train like one process. A killed, interrupted or failing worker ends the run with a reason."""

import json
import shutil
import signal

import numpy as np
import pytest

from training.config.options import Config
from training.config.task import Task
from training.run.checkpoints import newest_checkpoint
from training.run.folder import RunFolder
from training.run.run import Run
from weights.formats.safetensors import load_model, save_model

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4
BATCH_NORM = {"batch_size": 6, "epochs": 25, "sizes": "64", "batch_norm": "train", "freeze": "conv3", "unfreeze_at": 5.0}
BATCH_NORM |= {"new_layers": "head", "dropout": 0.2, "l2": 0.001, "check_every": 5, "clip_at": 1.0}
CACHED = {"batch_size": 7, "epochs": 25, "sizes": "64", "freeze": "conv3", "unfreeze_at": 25.0, "cache_features": 2}
CACHED |= {"batch_norm": "train", "check_every": 2, "checkpoint_steps": 5}


@pytest.fixture(scope="module")
def model_file(tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


@pytest.fixture(scope="module")
def single_process_run(rectangles, model_file, tmp_path_factory):
    """(settings) -> the folder of a run in one process."""

    def run(settings):
        task = Task(str(rectangles), "train", "val", str(model_file))
        return Run.new(task, Config(**settings), load_model(model_file), tmp_path_factory.mktemp("alone")).train().folder

    return run


def as_options(settings):
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]


def step_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_run(expected_folder, actual_folder, steps):
    """Compare the losses of all steps, the validations, the final weights and their averages."""
    first, second = step_metrics(expected_folder), step_metrics(actual_folder)
    assert [row["step"] for row in first] == [row["step"] for row in second] == list(range(1, steps + 1))
    for expected, actual in zip(first, second, strict=True):
        assert expected["size"] == actual["size"]
        assert expected["learning_rate"] == actual["learning_rate"]
        assert expected["loss"] == pytest.approx(actual["loss"], rel=TOLERANCE), expected["step"]
        assert ("val_loss" in expected) == ("val_loss" in actual)
        if "val_loss" in expected:
            assert expected["val_loss"] == pytest.approx(actual["val_loss"], rel=TOLERANCE)
    arrays = [newest_checkpoint(folder / "checkpoints").arrays for folder in (expected_folder, actual_folder)]
    assert arrays[0].keys() == arrays[1].keys()
    for name in (name for name in arrays[0] if not name.startswith("optimizer/")):
        np.testing.assert_allclose(arrays[1][name], arrays[0][name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.fixture(scope="module")
def two_worker_run(workers, rectangles, model_file, tmp_path_factory):
    """(folder of the chief, folder of worker 1, published models) after two runs, the second of which starts from the first."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "models").mkdir()
    (folder / "moving.toml").write_text(Config(**BATCH_NORM).to_toml(), encoding="utf-8")
    (folder / "short.toml").write_text('epochs = 1\nbatch_size = 6\nsizes = "64"\nfreeze = "all-but-head"\n', encoding="utf-8")
    more = ["--then", folder / "short.toml", "--publish", folder / "models", "--publish-as", "both"]
    command = [rectangles, "--model", model_file, "--config", folder / "moving.toml", *more]
    with workers(command, [rectangles]) as (chief, other):  # worker 1 takes its options from the chief
        for worker in (chief, other):
            code, output = worker.wait()
            assert code == 0, output
            assert output.count("All epochs are done.") == 2
    return chief.folder, other.folder, folder / "models"


def test_two_workers_train_like_one_process(single_process_run, two_worker_run, rectangles):
    assert_same_run(single_process_run(BATCH_NORM), two_worker_run[0] / "runs" / f"{rectangles.name}-001", 50)
    assert (two_worker_run[0] / "runs" / f"{rectangles.name}-001" / "report.html").is_file()
    assert list(two_worker_run[1].iterdir()) == []


def test_a_second_run_starts_from_the_best_weights_and_the_chief_publishes(two_worker_run, rectangles):
    first, second = (two_worker_run[0] / "runs" / f"{rectangles.name}-00{number}" for number in (1, 2))
    assert RunFolder.open(second)[1].model == str(first / "best.safetensors")
    assert [row["step"] for row in step_metrics(second)] == [1, 2]
    (published,) = two_worker_run[2].rglob("*.safetensors")
    assert published.parent.parent == two_worker_run[2] / "both"
    assert published.read_bytes() == (second / "best.safetensors").read_bytes()


def test_a_killed_worker_ends_the_run_and_any_number_of_workers_can_resume(single_process_run, workers, rectangles, model_file):
    command = [rectangles, "--model", model_file, *as_options(CACHED)]
    with workers(command, command) as (chief, other):
        chief.wait_for_line("step 8 ")
        other.process.send_signal(signal.SIGKILL)
        code, output = chief.wait(timeout=60)
    run = chief.folder / "runs" / f"{rectangles.name}-001"
    assert code == 2
    message = output.rpartition("boxwright: ")[2].strip()
    assert message.startswith(("worker 1 (127.0.0.1:", "another worker is gone"))
    assert f"Resume with --resume runs/{run.name}. You can resume with any number of workers." in message
    assert json.loads((run / "outcome.json").read_text(encoding="utf-8"))["why"] == message
    assert newest_checkpoint(run / "checkpoints").state["step"] >= 5

    resume = ["--resume", run]
    with workers(resume, [rectangles], resume) as three:
        three[1].wait_for_line("step 8 ")
        three[1].process.send_signal(signal.SIGINT)
        for code, output in [worker.wait() for worker in three]:
            assert code == 130, output
            assert "Interrupted" in output
    folder, task, config = RunFolder.open(run)
    Run.resume(folder, task, config, load_model(model_file)).train()
    assert_same_run(single_process_run(CACHED), run, 50)


def test_a_failing_worker_sends_its_reason_to_the_others(workers, rectangles, model_file, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(rectangles, copy)
    for image in (copy / "JPEGImages").glob("*.png"):
        content = image.read_bytes()
        image.write_bytes(content[:40] + bytes(len(content) - 40))  # the header is valid, so the damage is found in training
    command = ["--model", model_file, *as_options(BATCH_NORM)]
    with workers([rectangles, *command], [copy, *command], tf_config=True) as (chief, other):
        reason, output = other.wait(), chief.wait(timeout=60)
    assert reason[0] == output[0] == 2
    cause = reason[1].rpartition("boxwright: ")[2].strip()
    assert "picture" in cause
    assert "the PNG is truncated or" in cause
    assert output[1].rpartition("boxwright: ")[2].startswith("worker 1 (127.0.0.1:")
    assert f"has ended the run: {cause}" in output[1]
    assert "--resume runs/" in output[1]
