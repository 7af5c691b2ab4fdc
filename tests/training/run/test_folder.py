import csv
import json

import pytest

from training.config.options import Config
from training.config.task import Task
from training.run.folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path, Task("data", "train", "val", None), Config())


def step_metrics(step, **values):
    return {"step": step, "epoch": 0, "size": 64, "learning_rate": 0.5, "loss": 1.0, "gradient": 3.0} | values


def csv_table(folder):
    with (folder.path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [(int(each["step"]), each["ap50"]) for each in csv.DictReader(file)]


@pytest.mark.parametrize("incomplete_line", ['{"step": 4, "lo', '{"step": 4, "layers": {"dead": {"conv": 0}', '{"step": 4}', ""])
def test_an_incomplete_last_line_is_ignored(folder, incomplete_line):
    for step in (1, 2, 3):
        folder.metrics.append(step_metrics(step))
    with (folder.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(incomplete_line)
    assert [each["step"] for each in folder.metrics.read()] == [1, 2, 3]


def test_truncate_removes_later_steps_from_both_files(folder):
    for step in (1, 2, 3):
        folder.metrics.append(step_metrics(step, ap50=0.25, layers={}) if step == 2 else step_metrics(step))
    folder.metrics.truncate(2)
    assert folder.metrics.read() == [step_metrics(1), step_metrics(2, ap50=0.25, layers={})]
    assert csv_table(folder) == [(1, ""), (2, "0.25")]
    folder.metrics.append(step_metrics(3))
    assert csv_table(folder) == [(1, ""), (2, "0.25"), (3, "")]
    folder.metrics.truncate(0)
    assert (folder.metrics.read(), csv_table(folder)) == ([], [])


def test_the_outcome_is_removed_when_the_run_continues(folder):
    folder.clear_outcome()
    assert folder.outcome() is None
    folder.write_outcome("done.", step=3, seconds=1.26)
    assert folder.outcome() == {"why": "done.", "step": 3, "seconds": 1.3}
    assert json.loads((folder.path / "outcome.json").read_text()) == folder.outcome()
    folder.clear_outcome()
    assert folder.outcome() is None


def test_a_new_folder_gets_the_next_free_number_and_its_settings(tmp_path, folder):
    (tmp_path / "data-002").mkdir()  # created by another program
    (tmp_path / "data-003").write_text("")
    other = RunFolder.create(tmp_path, Task("data", "train", "val", None), Config())
    assert (folder.path.name, other.path.name) == ("data-001", "data-004")
    assert sorted(path.name for path in other.path.iterdir()) == ["config.toml", "run.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-001", "data-002", "data-003", "data-004"]
