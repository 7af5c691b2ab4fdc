"""A short run of the small model, new or finished."""

from pathlib import Path

import pytest

from tests.training.run.runs import SHORT
from training.config.options import Config
from training.config.task import Task
from training.run.run import Run
from weights.formats.safetensors import load_model, save_model


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
