import csv
import json

import pytest

from training.config import Config
from training.run.folder import RunFolder, Task


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path, Task("data", "train", "val", None), Config())


def row(step, **more):
    return {"step": step, "epoch": 0, "size": 64, "learning_rate": 0.5, "loss": 1.0, "gradient": 3.0} | more


def table(folder):
    with (folder.path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [(int(each["step"]), each["ap50"]) for each in csv.DictReader(file)]


@pytest.mark.parametrize("half", ['{"step": 4, "lo', '{"step": 4, "layers": {"dead": {"conv": 0}', '{"step": 4}', ""])
def test_a_line_cut_short_by_a_kill_is_left_out(folder, half):
    for step in (1, 2, 3):
        folder.add(row(step))
    with (folder.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(half)
    assert [each["step"] for each in folder.rows()] == [1, 2, 3]


def test_steps_after_a_checkpoint_are_forgotten_in_both_files(folder):
    for step in (1, 2, 3):
        folder.add(row(step, ap50=0.25, layers={}) if step == 2 else row(step))
    folder.forget_after(2)
    assert folder.rows() == [row(1), row(2, ap50=0.25, layers={})]
    assert table(folder) == [(1, ""), (2, "0.25")]
    folder.add(row(3))
    assert table(folder) == [(1, ""), (2, "0.25"), (3, "")]
    folder.forget_after(0)
    assert (folder.rows(), table(folder)) == ([], [])


def test_an_outcome_is_true_until_the_run_goes_on(folder):
    folder.begin()
    assert folder.outcome() is None
    folder.end("done.", step=3, seconds=1.26)
    assert folder.outcome() == {"why": "done.", "step": 3, "seconds": 1.3}
    assert json.loads((folder.path / "outcome.json").read_text()) == folder.outcome()
    folder.begin()
    assert folder.outcome() is None


def test_a_new_folder_has_all_it_is_told_under_its_own_name_and_the_next_number(tmp_path, folder):
    (tmp_path / "data-002").mkdir()  # somebody else's
    (tmp_path / "data-003").write_text("")
    other = RunFolder.create(tmp_path, Task("data", "train", "val", None), Config())
    assert (folder.path.name, other.path.name) == ("data-001", "data-004")
    assert sorted(path.name for path in other.path.iterdir()) == ["config.toml", "run.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-001", "data-002", "data-003", "data-004"]
