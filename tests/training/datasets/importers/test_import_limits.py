"""Hostile data sets of some KB to MB that would take minutes or gigabytes without limits."""

import tracemalloc
from time import process_time

import pytest

from tests.training.datasets.importers.coco_files import write_coco
from tests.training.datasets.importers.yolo_layouts import BOX, NAMES, images, write_files
from training.datasets.importers.coco import read_coco
from training.datasets.importers.coco_images import MAX_FOLDERS
from training.datasets.importers.yolo import read_yolo
from training.datasets.importers.yolo_labels import have_keypoints
from training.errors import DatasetError

ALIASES = f'[&a " {"x" * 2000}"{", *a" * 20_000}]'
"""A list of 80 KB. A copy of each of its strings without the blank would take 40 MB."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"names: {ALIASES}", "a label of more than 1,000 characters"),
        (f"{NAMES}train: {ALIASES}", "names 20,001 folders or lists for train; at most 100 are read"),
        (f"names: {{? {'1' * 5000} : dog}}", "a number of more than 9 digits"),
    ],
    ids=["labels", "folders", "digits"],
)
def test_data_yaml_with_long_values_is_refused_before_they_are_copied(tmp_path, save_image, text, message):
    write_files(tmp_path, images("images/a.jpg") | {"data.yaml": text}, save_image)
    with pytest.raises(DatasetError, match=message):
        read_yolo(tmp_path, image_set="train")


def test_invalid_lines_are_counted_without_keeping_all_messages(tmp_path, save_image):
    """Each of a million messages could quote ten labels of a hundred kilobytes."""
    files = {"classes.txt": "x" * 100_000, "labels/a.txt": "5 .1 .1 .1 .1\n" * 2000}
    write_files(tmp_path, images("images/a.jpg") | files, save_image)
    with pytest.raises(DatasetError) as caught:
        read_yolo(tmp_path, image_set="train")
    message = str(caught.value)
    assert message.startswith("2000 lines of label files cannot be used:\n")
    assert message.endswith("\nand 1990 more.")
    assert len(message) < 10_000


def test_invalid_lines_of_a_data_set_with_many_classes_are_counted_fast(tmp_path, save_image):
    files = {"classes.txt": "dog\n" * 100_000, "labels/a.txt": "500000 .1 .1 .1 .1\n" * 2000}
    write_files(tmp_path, images("images/a.jpg") | files, save_image)
    started = process_time()
    with pytest.raises(DatasetError, match="and 99990 more"):
        read_yolo(tmp_path, image_set="train")
    assert process_time() - started < 6


def test_the_search_for_keypoints_does_not_keep_the_words_of_all_label_files(tmp_path):
    paths = [tmp_path / f"{number}.txt" for number in range(5)]
    for path in paths:
        path.write_text("10 0.11 0.12 0.13 0.14\n" * 10_000)
    tracemalloc.start()
    assert not have_keypoints(paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000


def test_patterns_that_would_take_minutes_are_refused(tmp_path, save_image):
    entries = ", ".join(f'"{"/".join("*" * 60)}/{number}"' for number in range(100))
    files = {"data.yaml": f"{NAMES}train: [{entries}]"} | {f"images/{number}.jpg": "" for number in range(200)}
    write_files(tmp_path, files, save_image)
    with pytest.raises(DatasetError, match=r"the patterns of the image sets, such as .* are too many or too long for 200 images"):
        read_yolo(tmp_path, image_set="train")


def test_patterns_of_an_honest_data_set_are_far_below_the_limit(tmp_path, save_image):
    files = images(*(f"images/day{number}/a.jpg" for number in range(20))) | {"labels/day1/a.txt": BOX}
    entries = ", ".join(f'"/home/me/data/pets/images/day{number}/*.jpg"' for number in range(20))
    write_files(tmp_path, files | {"data.yaml": f"{NAMES}train: [{entries}]"}, save_image)
    assert len(read_yolo(tmp_path, image_set="default").images) == 20


def test_a_list_that_is_named_many_times_is_read_once(tmp_path, save_image):
    entries = ", ".join(f"x{number}/list.txt" for number in range(100))
    files = {"data.yaml": f"{NAMES}train: [{entries}]", "list.txt": "/data/pets/images/a.jpg\n" * 9000, "labels/a.txt": BOX}
    write_files(tmp_path, images("images/a.jpg") | files, save_image)
    started = process_time()
    assert len(read_yolo(tmp_path, image_set="default").images) == 1
    assert process_time() - started < 3


def test_more_folders_than_any_tool_writes_are_not_searched(tmp_path, save_image):
    annotations = write_coco(tmp_path, save_image, {"bbox": [10, 5, 20, 30]})
    for number in range(MAX_FOLDERS):
        (tmp_path / f"train{number}").mkdir()
    with pytest.raises(DatasetError, match=r"folders may have its images; at most 32 are searched.*--photos"):
        read_coco(annotations, None, image_set="train")
    assert len(read_coco(annotations, tmp_path, image_set="train").images) == 1


def test_a_rotation_of_400_digits_counts_as_none(tmp_path, save_image):
    annotations = write_coco(tmp_path, save_image, {"bbox": [10, 5, 20, 30], "attributes": {"rotation": 10**400}})
    (image,) = read_coco(annotations, None, image_set="train").images
    assert image.boxes.tolist() == [[10, 5, 30, 35]]
