"""An interrupted run that is resumed reaches the same weights, bit for bit."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.run.runs import resume, step_metrics
from training.errors import CheckpointError, TrainingError
from training.events import Events
from training.run.checkpoints import newest_checkpoint
from training.run.run import Run
from weights.formats.safetensors import load_model

ROOT = Path(__file__).resolve().parents[3]


class InterruptAtStep5(Events):
    def step_finished(self, metrics):
        if metrics["step"] == 5:
            os.kill(os.getpid(), signal.SIGINT)


def save_checkpoint_of(run):
    run.callbacks[-1].save(run)


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


def test_a_run_that_is_in_progress_cannot_be_resumed(new_run):
    run, refusals = new_run(epochs=1), []

    class Resume(Events):
        def step_finished(self, metrics):
            if metrics["step"] == 2:
                with pytest.raises(TrainingError, match="another process is training this run"):
                    resume(run.folder.path)
                command = [sys.executable, "-m", "cli.main", "finetune", "--resume", str(run.folder.path)]
                refusals.append(subprocess.run(command, cwd=ROOT, capture_output=True, text=True))

    run.train(Resume())
    assert [refusal.returncode for refusal in refusals] == [2]
    assert f"{run.folder.path}: another process is training this run." in refusals[0].stderr
    assert [row["step"] for row in step_metrics(run.folder.path)] == list(range(1, run.setup.batches.steps + 1))


def test_resuming_with_another_number_of_threads_logs_a_warning(new_run, monkeypatch, caplog):
    run = new_run()
    threads = run.folder.environment()["threads"]
    save_checkpoint_of(run)
    resume(run.folder.path)
    assert "the environment has changed" not in caplog.text
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


def test_ctrl_c_saves_a_checkpoint_and_the_run_can_be_resumed(new_run, finished):
    stopped = new_run()
    outcome = stopped.train(InterruptAtStep5())
    assert outcome.interrupted
    assert outcome.reason.startswith("interrupted")
    assert newest_checkpoint(outcome.folder / "checkpoints").state["step"] == 5
    resume(outcome.folder).train()
    assert_equal_results(finished[1].folder, stopped.folder.path)


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
