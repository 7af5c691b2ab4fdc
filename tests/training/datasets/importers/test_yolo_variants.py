"""Keypoints, other names of class files, and images of unsupported formats."""

import numpy as np
import pytest

from tests.training.datasets.importers.yolo_layouts import BOX, NAMES, images, write_files
from training.datasets.importers.yolo import read_yolo
from training.errors import DatasetError


def test_keypoints_are_recognised_without_kpt_shape(tmp_path, save_image):
    poses = "0 0.5 0.5 0.4 0.6 0.4 0.4 2 0.6 0.7 1 0 0 0\n"
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": poses + BOX, "data.yaml": NAMES}, save_image)
    dataset = read_yolo(root, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes[0], [18, 8, 42, 32], atol=1e-3)
    assert dataset.notes == ("1 box imported without its keypoints.",)


def test_polygons_that_look_like_keypoints_in_one_line_stay_polygons(tmp_path, save_image):
    corner = "0 0.5 0.5 0.6 0.6 0.9 0.9 1 0.6 0.6 1\n"
    other = "0 0.1 0.2 0.5 0.1 0.3 0.75\n"
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": corner + other, "data.yaml": NAMES}, save_image)
    dataset = read_yolo(root, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes[1], [6, 4, 30, 30], atol=1e-3)
    assert dataset.notes[0].startswith("2 polygons: imported as the upright rectangle")


def test_a_yaml_file_in_a_folder_without_images_names_classes_and_sets(tmp_path, save_image):
    config = f"train: ../images/train\nval: ../images/val\n{NAMES}"
    files = images("images/train/a.jpg", "images/val/b.jpg") | {
        "labels/train/a.txt": BOX,
        "data/pets.yaml": config,
        "data/hyp.yaml": "lr: 1",
    }
    dataset = read_yolo(write_files(tmp_path / "yolo", files, save_image), image_set="train")
    assert [(image.image_sets, image.labels) for image in dataset.images] == [(("train",), ("dog",)), (("val",), ())]


def test_a_surplus_suffix_of_data_yaml_which_windows_hides_is_named(tmp_path, save_image):
    files = images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml.txt": NAMES}
    with pytest.raises(DatasetError, match=r"data\.yaml\.txt has a surplus suffix: rename it to data\.yaml\."):
        read_yolo(write_files(tmp_path / "yolo", files, save_image), image_set="train")


@pytest.mark.parametrize("name", ["labels.txt", "Labels.txt", "names.txt", "class_names.txt", "class_list.txt", "data/labels.txt"])
def test_other_names_of_class_files_are_read_if_there_is_no_usual_one(tmp_path, save_image, name):
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": BOX, name: "owl\nfox\n"}, save_image)
    assert read_yolo(root, image_set="train").images[0].labels == ("owl",)
    (root / "classes.txt").write_text("dog\ncat\n")
    assert read_yolo(root, image_set="train").images[0].labels == ("dog",)


def test_the_class_file_of_v7_is_read(tmp_path, save_image):
    files = images("images/a.jpg") | {"annotations/a.txt": BOX, "annotations/darknet.labels": "owl\nfox\n"}
    assert read_yolo(write_files(tmp_path / "yolo", files, save_image), image_set="train").images[0].labels == ("owl",)


@pytest.mark.parametrize("name", ["classes.txt", "obj.names", "labels.txt"])
@pytest.mark.parametrize("text", ["0: dog\n1: cat\n", "0 dog\n1 cat\n", "0. dog\r\n1. cat\r\n"])
def test_numbers_before_the_class_names_are_not_part_of_them(tmp_path, save_image, name, text):
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": BOX + "1 0.5 0.5 0.5 0.5\n", name: text}, save_image)
    assert read_yolo(root, image_set="train").images[0].labels == ("dog", "cat")


def test_the_label_file_of_an_image_named_labels_is_no_class_file(tmp_path, save_image):
    root = write_files(tmp_path / "yolo", images("labels.jpg") | {"labels.txt": BOX}, save_image)
    with pytest.raises(DatasetError, match="class names are missing"):
        read_yolo(root, image_set="train")


@pytest.mark.parametrize("name", ["b.heic", "b.HEIF", "b.avif"])
def test_images_of_unsupported_formats_are_noted(tmp_path, save_image, name):
    files = images("images/a.jpg") | {"labels/a.txt": BOX, f"images/{name}": "x", "data.yaml": NAMES}
    root = write_files(tmp_path / "yolo", files, save_image)
    assert read_yolo(root, image_set="train").notes == (f"1 image of an unsupported format, images/{name}: convert it to JPEG.",)
    (root / "images" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=f"1 image of an unsupported format, images/{name}: convert it to JPEG"):
        read_yolo(root, image_set="train")
