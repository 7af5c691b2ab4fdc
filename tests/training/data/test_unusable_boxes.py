"""Boxes that training cannot use are counted. A set without a usable box is refused."""

import numpy as np
import pytest

from training.config.options import Config
from training.config.task import Task
from training.data.unusable_boxes import check_boxes, count_unusable
from training.data.voc_reader import read_set
from training.distributed.process_group import SINGLE_PROCESS
from training.errors import DatasetError
from training.modeling.anchors import box_sizes
from training.run.setup import RunSetup

DOG = ("dog", 1, 1, 30, 40)


@pytest.mark.parametrize(
    ("box", "problems"),
    [
        ((0, 0, 30, 40), {}),
        ((59, 39, 60.5, 41), {"outside of the image": 1}),
        ((-20, 0, 2, 40), {}),
        ((30, 0, 0, 40), {"reversed": 1}),
        ((0, 40, 30, 0), {"reversed": 1}),
        ((5, 5, 6, 20), {"empty": 1}),
        ((500, 500, 600, 600), {"outside of the image": 1}),
        ((0, 0, 60, 40), {}),
    ],
)
def test_each_problem_of_a_box_is_recognised(box, problems):
    assert count_unusable(np.array([box], np.float32), (60, 40)) == problems


def test_an_empty_array_has_no_problems():
    assert not count_unusable(np.zeros((0, 4), np.float32), (60, 40))


def test_a_warning_counts_the_problems(make_dataset):
    samples = read_set(make_dataset({"a": [DOG, ("dog", 30, 1, 5, 40)], "b": [("dog", 5, 5, 5, 40), ("cat", 9, 9, 1, 1)]}), "all")
    assert check_boxes("train", samples, ["dog"]) == (
        "set train: 2 of 3 boxes cannot be used (1 reversed, 1 empty). "
        "`boxwright data check` lists them, and --fix repairs what can be repaired."
    )
    assert check_boxes("train", samples[:1], ["bird"]) is None


@pytest.mark.parametrize("box", [("dog", 30, 1, 5, 40), ("dog", 5, 5, 5, 40), ("dog", 500, 500, 600, 600)])
@pytest.mark.parametrize("image_set", ["train", "val"])
def test_a_run_without_a_usable_box_is_refused(make_dataset, small_model, box, image_set):
    folder = make_dataset({"train": [DOG], "val": [DOG], image_set: [box]}, {"train": ["train"], "val": ["val"]})
    with pytest.raises(DatasetError, match=f"set {image_set}: 1 of 1 box cannot be used .* No box is left"):
        RunSetup.prepare(Task(str(folder), "train", "val", None), Config(batch_size=1, sizes="64"), small_model, SINGLE_PROCESS)


def test_a_run_with_some_unusable_boxes_logs_a_warning(make_dataset, small_model, caplog):
    folder = make_dataset({"a": [DOG, ("dog", 30, 1, 5, 40)], "b": [DOG]}, {"train": ["a"], "val": ["b"]})
    RunSetup.prepare(Task(str(folder), "train", "val", None), Config(batch_size=1, sizes="64", freeze="none"), small_model, SINGLE_PROCESS)
    assert "set train: 1 of 2 boxes cannot be used (1 reversed)" in caplog.text


def test_anchors_need_only_the_headers_of_the_images(make_dataset, small_model):
    folder = make_dataset({"a": [DOG]})
    samples = read_set(folder, "all")
    expected = box_sizes(samples, small_model.spec, 16)
    path = folder / "JPEGImages" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-300])  # the pixels can no longer be decoded
    np.testing.assert_array_equal(box_sizes(samples, small_model.spec, 16), expected)
