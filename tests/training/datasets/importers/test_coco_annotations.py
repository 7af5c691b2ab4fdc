"""COCO annotations as public tools write them, and JSON that is refused with advice."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.datasets.importers.coco_files import write_coco
from training.datasets.importers.base import write_imported
from training.datasets.importers.coco import read_coco, set_of_coco_file
from training.errors import DatasetError

TRIANGLE = [[1, 2, 5, 2, 5, 8]]


@pytest.mark.parametrize(
    ("annotation", "options", "boxes"),
    [
        ({"bbox": [10, 5, 20, 30]}, {}, [[10, 5, 30, 35]]),
        ({"bbox": [10, 5, 20, 30]}, {"byte_order_mark": b"\xef\xbb\xbf"}, [[10, 5, 30, 35]]),
        ({"bbox": [10, 5, 20, 30]}, {"width": None, "height": None}, [[10, 5, 30, 35]]),
        ({"segmentation": TRIANGLE}, {}, [[1, 2, 5, 8]]),
        ({"bbox": [], "segmentation": TRIANGLE}, {}, [[1, 2, 5, 8]]),
        ({"bbox": None, "segmentation": TRIANGLE}, {}, [[1, 2, 5, 8]]),
        ({"bbox": [10, 5, 20, 30]}, {"path": "images/a.jpg"}, [[10, 5, 30, 35]]),
        ({"bbox": [10, 5, 20, 30]}, {"path": "train2017/a.jpg", "place": "annotations/instances_train2017.json"}, [[10, 5, 30, 35]]),
        ({"bbox": [10, 5, 20, 30], "iscrowd": None}, {}, [[10, 5, 30, 35]]),
        ({"bbox": [0, 0, 0, 0], "segmentation": TRIANGLE}, {}, [[1, 2, 5, 8]]),
        ({"segmentation": TRIANGLE[0]}, {}, [[1, 2, 5, 8]]),
        ({"bbox": [10, 5, 20, 30]}, {"width": 60.0, "height": 40.4}, [[10, 5, 30, 35]]),
        ({"bbox": [10, 5, 20, 30], "attributes": {"occluded": False, "rotation": 0.0}}, {}, [[10, 5, 30, 35]]),
        ({"bbox": [10, 10, 20, 4], "attributes": {"rotation": 90.0}}, {}, [[18, 2, 22, 22]]),
        ({"bbox": [10, 10, 20, 4], "attributes": {"rotation": "90.0"}}, {}, [[18, 2, 22, 22]]),
        ({"bbox": [10, 5, 20, 30], "attributes": {"rotation": "left"}}, {}, [[10, 5, 30, 35]]),
        (
            {"bbox": [10, 5, 20, 30]},
            {"path": "images/train2017/a.jpg", "place": "annotations/instances_train2017.json"},
            [[10, 5, 30, 35]],
        ),
    ],
)
def test_unusual_coco_annotations_are_imported(tmp_path, save_image, annotation, options, boxes):
    dataset = read_coco(write_coco(tmp_path, save_image, annotation, **options), None, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes, np.array(boxes, np.float32).reshape(-1, 4), atol=1e-5)
    assert dataset.images[0].size == (60, 40)
    assert dataset.notes == (("1 rotated box: imported as the upright rectangle around it.",) if boxes == [[18, 2, 22, 22]] else ())


@pytest.mark.parametrize(
    ("annotation", "options", "box"),
    [
        ({"bbox": [0.1, 0.25, 0.5, 0.5]}, {}, [6, 10, 36, 30]),
        ({"bbox": [0.1, 0.25, 0.5, 0.5]}, {"width": None, "height": None}, [6, 10, 36, 30]),
        ({"bbox": [0.1, 0.25, 0.5, 0.5]}, {"width": 600.0, "height": 400.0}, [60, 100, 360, 300]),
        ({"bbox": [-0.002, 0, 1.003, 1]}, {}, [-0.12, 0, 60.06, 40]),
        ({"segmentation": [[0.1, 0.25, 0.6, 0.25, 0.6, 0.75]]}, {}, [6, 10, 36, 30]),
    ],
)
def test_coco_boxes_in_fractions_of_the_image_become_pixels(tmp_path, save_image, annotation, options, box):
    dataset = read_coco(write_coco(tmp_path, save_image, annotation, **options), None, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes, [box], atol=1e-4)
    assert dataset.notes == ("All boxes are in fractions of the image: converted to pixels.",)


@pytest.mark.parametrize("boxes", [[[0, 0, 1, 1]], [[0.1, 0.25, 0.5, 0.5], [0.1, 0.25, 20, 10]]])
def test_coco_boxes_are_pixels_unless_all_are_fractions(tmp_path, save_image, boxes):
    path = write_coco(tmp_path, save_image, {})
    content = json.loads(path.read_text())
    content["annotations"] = [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes]
    path.write_text(json.dumps(content))
    dataset = read_coco(path, None, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes, [[x, y, x + width, y + height] for x, y, width, height in boxes], atol=1e-5)
    assert dataset.notes == ()


def test_rotated_coco_boxes_are_noted(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [10, 10, 20, 4], "attributes": {"rotation": 30}})
    assert read_coco(path, None, image_set="train").notes == ("1 rotated box: imported as the upright rectangle around it.",)


@pytest.mark.parametrize(("image_id", "category_id"), [("1", 1), (1, "1"), ("1", "1"), (1.0, 1.0)])
def test_coco_ids_may_be_numbers_or_texts(tmp_path, save_image, image_id, category_id):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4], "image_id": image_id, "category_id": category_id})
    assert read_coco(path, None, image_set="train").images[0].labels == ("dog",)


@pytest.mark.parametrize(("name", "label"), [(" dog ", "dog"), (5, "5")])
def test_coco_labels_are_trimmed_and_may_be_numbers(tmp_path, save_image, name, label):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = name
    path.write_text(json.dumps(content))
    assert read_coco(path, None, image_set="train").images[0].labels == (label,)


def test_an_ignored_coco_box_is_difficult_but_no_crowd(tmp_path, save_image):
    image = read_coco(write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4], "ignore": 1}), None, image_set="train").images[0]
    assert (image.difficult.tolist(), image.crowd.tolist()) == ([True], [False])


def test_a_coco_file_in_utf_16_is_read(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    path.write_text(path.read_text(), encoding="utf-16")
    assert read_coco(path, None, image_set="train").images[0].labels == ("dog",)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x1f\x8b\x08", r"is compressed\. Unpack it"), (b"PK\x03\x04", "is compressed"), (b'{"a": "\xe9"}', "is not UTF-8 text")],
)
def test_a_coco_file_that_is_not_text_gets_advice(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_coco(tmp_path / "a.json", None, image_set="train")


@pytest.mark.parametrize("key", ["path", "coco_url"])
def test_an_image_without_a_file_name_is_found_by_its_path_or_url(tmp_path, save_image, key):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["images"][0][key] = f"http://images.cocodataset.org/val2017/{content['images'][0].pop('file_name')}"
    path.write_text(json.dumps(content))
    assert read_coco(path, None, image_set="train").images[0].name == "a"


def test_coco_categories_with_one_name_are_joined_with_a_note(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["categories"].append({"id": 9, "name": " dog"})
    path.write_text(json.dumps(content))
    assert read_coco(path, None, image_set="train").notes == ("Classes 1, 9 have the same name, 'dog': joined.",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected an object with images, annotations and categories, got a list"),
        ("hello", "Invalid JSON"),
        ("", "the file is empty"),
    ],
)
def test_other_json_is_refused_with_the_expected_structure(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_coco(tmp_path / "a.json", None, image_set="train")
    assert "the whole" not in str(caught.value)


def test_the_error_for_a_folder_in_place_of_a_coco_file_names_the_file(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "_annotations.coco.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"is a folder\. Give the \.json file, such as .*train/_annotations\.coco\.json"):
        read_coco(tmp_path, None, image_set="train")


def test_a_coco_box_of_five_numbers_is_refused_as_rotated(tmp_path, save_image):
    with pytest.raises(DatasetError, match=r"bbox: a box has 5 numbers, .* rotated boxes.* Export upright boxes"):
        read_coco(write_coco(tmp_path, save_image, {"bbox": [10, 10, 5, 5, 30]}), None, image_set="train")


def test_two_coco_categories_with_one_id_are_refused(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["categories"].append({"id": 1, "name": "cat"})
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="the categories 'dog' and 'cat' have the same id 1"):
        read_coco(path, None, image_set="train")


@pytest.mark.parametrize(
    ("path", "image_set"),
    [
        ("annotations/instances_val2017.json", "val"),
        ("valid/_annotations.coco.json", "val"),
        ("test/_annotations.coco.json", "test"),
        ("train/_annotations.coco.json", "train"),
        ("val/instances_train.json", "train"),
        ("annotations/instances_default.json", None),
        ("instances.json", None),
    ],
)
def test_the_path_of_a_coco_file_names_its_image_set(path, image_set):
    assert set_of_coco_file(Path("data") / path) == image_set


@pytest.mark.parametrize(
    ("place", "image_set", "sets"),
    [
        ("annotations.json", None, {"train": 1, "val": 1, "test": 1}),
        ("annotations/instances_default.json", None, {"train": 1, "val": 1, "test": 1}),
        ("annotations.json", "all", {"all": 3}),
        ("instances_val.json", None, {"val": 3}),
    ],
)
def test_folders_of_coco_images_are_image_sets_unless_the_file_or_the_user_names_one(tmp_path, save_image, place, image_set, sets):
    folder = tmp_path / "pets"
    path = write_coco(folder, save_image, {"bbox": [1, 2, 3, 4]}, place=place, path="train/a.jpg", file_name="train/a.jpg")
    content = json.loads(path.read_text())
    for number, name in enumerate(("Valid/a.jpg", "test2017/a.jpg"), 2):
        save_image(folder / name, number)
        content["images"].append({"id": number, "file_name": name})
    path.write_text(json.dumps(content))
    summary = write_imported(read_coco(path, None, image_set=image_set), tmp_path / "made")
    assert summary.images_by_set == sets


@pytest.mark.parametrize(
    ("place", "image_set", "notes"),
    [
        ("my_test/result.json", None, ("The folder name my_test puts all images into the set test. --set chooses another set.",)),
        ("my_test/result.json", "train", ()),
        ("my_test/instances_val.json", None, ()),
        ("valid/result.json", None, ()),
        ("train2017/result.json", None, ()),
    ],
)
def test_a_note_names_the_folder_that_decides_the_set(tmp_path, save_image, place, image_set, notes):
    folder, name = (tmp_path / place).parent, (tmp_path / place).name
    path = write_coco(folder, save_image, {"bbox": [1, 2, 3, 4]}, place=name)
    assert read_coco(path, None, image_set=image_set).notes == notes


def test_coco_images_in_a_folder_that_names_no_set_next_to_folders_of_sets_are_noted(tmp_path, save_image):
    folder = tmp_path / "pets"
    path = write_coco(folder, save_image, {"bbox": [1, 2, 3, 4]}, path="train/a.jpg", file_name="train/a.jpg")
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "vaild/b.jpg"})
    path.write_text(json.dumps(content))
    save_image(folder / "vaild" / "b.jpg", 2)
    assert read_coco(path, None).notes == ("1 image in folders that name no image set, such as vaild/b.jpg: imported into train.",)
    assert read_coco(path, None, image_set="train").notes == ()
