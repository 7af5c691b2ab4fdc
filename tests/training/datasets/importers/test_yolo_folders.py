"""Where YOLO data sets keep images and label files, and which files belong to other programs."""

import pytest
from PIL import Image

from tests.training.datasets.importers.yolo_layouts import BOX, NAMES, Layout, check_layout, images, write_files
from training.datasets.check import check_dataset
from training.datasets.importers.base import write_imported
from training.datasets.importers.yolo import read_yolo
from training.errors import DatasetError

LAYOUTS = [
    Layout("labels next to the images", images("a.jpg") | {"a.txt": BOX, "classes.txt": "dog\n"}, {"default": 1}, 1),
    Layout("labels next to the images in images", images("images/a.jpg") | {"images/a.txt": BOX, "data.yaml": NAMES}, {"default": 1}, 1),
    Layout(
        "labels next to the images, inside and outside of images",
        images("p/a.jpg", "q/images/b.jpg") | {"p/a.txt": BOX, "q/images/b.txt": BOX, "data.yaml": NAMES},
        {"default": 2},
        2,
    ),
    Layout(
        "JPEGImages and labels, as Darknet's voc_label.py writes them",
        images("VOC/JPEGImages/a.jpg") | {"VOC/labels/a.txt": BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
    ),
    Layout("Images and Labels", images("Images/a.jpg") | {"Labels/a.txt": BOX, "data.yaml": NAMES}, {"default": 1}, 1),
    Layout("img and txt", images("img/a.jpg") | {"txt/a.txt": BOX, "data.yaml": NAMES}, {"default": 1}, 1),
    Layout("label files in a subfolder of the images", images("a.jpg") | {"labels/a.txt": BOX, "classes.txt": "dog\n"}, {"default": 1}, 1),
    Layout(
        "label files that belong to no image",
        images("images/a.jpg") | {"elsewhere/deep/b.txt": BOX, "data.yaml": NAMES},
        error="1 label file found, such as elsewhere/deep/b.txt, but none belongs to an image",
    ),
    Layout(
        "one image without labels, and one label file without an image",
        images("images/a.jpg", "images/b.jpg") | {"labels/a.txt": BOX, "labels/c.txt": BOX, "data.yaml": NAMES},
        {"default": 2},
        1,
        ("1 image without a label file, such as images/b.jpg", "1 label file without an image, such as labels/c.txt"),
    ),
    Layout("an empty label file", images("images/a.jpg") | {"labels/a.txt": "", "data.yaml": NAMES}, {"default": 1}, 0),
    Layout(
        "suffixes in any case",
        images("images/a.Jpg", "images/b.JPEG", "images/c.Png", "images/d.jfif")
        | {f"labels/{name}.txt": BOX for name in "abcd"}
        | {"data.yaml": NAMES},
        {"default": 4},
        4,
    ),
    Layout("label files with a suffix in capitals", images("images/a.jpg") | {"labels/a.TXT": BOX, "data.yaml": NAMES}, {"default": 1}, 1),
    Layout(
        "hidden folders and thumbnails",
        images(
            "images/a.jpg",
            "#recycle/images/b.jpg",
            "$RECYCLE.BIN/c.jpg",
            "old/JPEGImages/a.jpg",
            "images/.ipynb_checkpoints/a-checkpoint.jpg",
            "images/@eaDir/a.jpg/THUMB.jpg",
            "__MACOSX/images/._a.jpg",
        )
        | {"labels/a.txt": BOX, "data.yaml": NAMES, "old/Annotations/a.xml": "<annotation/>", "old/ImageSets/Main/train.txt": "a\n"},
        {"default": 1},
        1,
    ),
    Layout(
        "results of YOLO runs",
        images("images/a.jpg", "runs/detect/train/results.png") | {"labels/a.txt": BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
    ),
    Layout(
        "copies with boxes of boxwright detect",
        images("images/a.jpg", "images/a.boxes.jpg") | {"labels/a.txt": BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
    ),
    Layout(
        "a plot next to the image folder",
        images("images/a.jpg", "overview.png") | {"labels/a.txt": BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
        ("1 image outside of the image folders",),
    ),
    Layout(
        "labels are preferred to annotations",
        images("images/a.jpg") | {"labels/a.txt": BOX, "annotations/a.txt": BOX + BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
        ("1 label file without an image, such as annotations/a.txt",),
    ),
    Layout(
        "the data set is in a subfolder, as in many archives",
        images("street-1/images/a.jpg") | {"street-1/labels/a.txt": BOX, "street-1/data.yaml": NAMES},
        error="data.yaml is in street-1. Import that folder",
    ),
    Layout(
        "a VOC data set",
        images("JPEGImages/a.jpg") | {"Annotations/a.xml": "<annotation/>"},
        error="It has .xml files: a VOC-style data set needs no import",
    ),
    Layout(
        "a COCO data set",
        images("train/a.jpg") | {"train/_annotations.coco.json": "{}"},
        error="It has .json files, such as train/_annotations.coco.json. If they are COCO files, import them with --from coco",
    ),
    Layout(
        "an export without the images",
        {"obj_train_data/a.txt": BOX, "obj.names": "dog\n", "train.txt": "data/obj_train_data/a.jpg\n"},
        error="there is no image. Export the data set together with its images",
    ),
    Layout(
        "label files with other names than the images",
        images("images/a.jpg") | {"labels/a-1.txt": BOX, "data.yaml": NAMES},
        error="A label file has the name of its image (labels/a.txt for images/a.jpg)",
    ),
    Layout(
        "a label file of exactly the image's name comes before a similar one",
        images("images/a.jpg", "images/A.jpg") | {"labels/a.txt": BOX, "data.yaml": NAMES},
        {"default": 2},
        1,
        ("1 image without a label file, such as images/A.jpg",),
    ),
    Layout(
        "labels with class names in a folder of another name",
        images("images/a.jpg") | {"marks/a.txt": "dog 0.5 0.5 0.2 0.2\n", "data.yaml": NAMES},
        error="1 label file found, such as marks/a.txt, but none belongs to an image",
    ),
    *(
        Layout(
            f"labels in another format: {path}",
            images("images/a.jpg") | {path: "x", "data.yaml": NAMES},
            error=f"no image has a label file (.txt), but {path} has the name of an image",
        )
        for path in ("labels/a.json", "labels/a.xml", "labels/a.csv", "images/A.json")
    ),
    Layout(
        "labels in two formats",
        images("images/a.jpg") | {"images/a.json": "{}", "annotation/a.txt": BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
    ),
    Layout(
        "a folder of images named runs", images("images/runs/a.jpg") | {"labels/runs/a.txt": BOX, "data.yaml": NAMES}, {"default": 1}, 1
    ),
    Layout(
        "a backslash in the name of an image",
        images("images/a\\b.jpg") | {"labels/a\\b.txt": BOX, "data.yaml": NAMES},
        error="has characters that a list of names cannot hold",
    ),
    Layout(
        "two images with one name",
        images("images/a.jpg", "images/a.png") | {"labels/a.txt": BOX, "data.yaml": NAMES},
        error="two images would have the name 'a': ",
    ),
    Layout(
        "an empty image file",
        images("images/a.jpg") | {"images/b.jpg": "", "labels/a.txt": BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
        ("1 image that cannot be read: skipped (b.jpg: the image file is empty)",),
    ),
    Layout(
        "label files named after the complete image name, in another case, or with URL escapes",
        images("images/a.jpg", "images/B.jpg", "images/my cat.jpg")
        | {"labels/a.jpg.txt": BOX, "labels/b.txt": BOX, "labels/my%20cat.txt": BOX, "data.yaml": NAMES},
        {"default": 3},
        3,
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_arrangement_of_yolo_files_is_imported_or_refused_with_advice(tmp_path, save_image, layout):
    check_layout(tmp_path, save_image, layout)


def test_linked_folders_are_named(tmp_path, save_image):
    write_files(tmp_path / "source", images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": NAMES}, save_image)
    (tmp_path / "other").mkdir()
    (tmp_path / "source" / "images" / "more").symlink_to(tmp_path / "other")
    assert "1 linked folder not followed: images/more." in read_yolo(tmp_path / "source", image_set="train").notes


def test_rotated_yolo_images_give_a_note_and_a_warning_of_the_check(tmp_path, save_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_files(tmp_path / "source", {"labels/a.txt": BOX, "data.yaml": NAMES}, save_image)
    save_image(tmp_path / "source" / "images" / "a.jpg", 1, exif=exif)
    dataset = read_yolo(tmp_path / "source", image_set="train")
    write_imported(dataset, tmp_path / "made")
    assert "1 image stored rotated (EXIF), such as a.jpg" in dataset.notes[0]
    assert "orientation" in {finding.kind for finding in check_dataset(tmp_path / "made").findings}


def test_a_linked_folder_of_images_is_named_by_the_error(tmp_path, save_image):
    write_files(tmp_path / "source", {"labels/a.txt": BOX, "data.yaml": f"train: images\n{NAMES}"}, save_image)
    save_image(tmp_path / "other" / "a.jpg", 1)
    (tmp_path / "source" / "images").symlink_to(tmp_path / "other")
    with pytest.raises(DatasetError, match=r"there is no image\. Linked folders are not followed: images"):
        read_yolo(tmp_path / "source", image_set="train")


@pytest.mark.parametrize(("name", "advice"), [("data.yaml", "Give the folder of the data set: "), ("data.zip", "Unpack it")])
def test_a_file_in_place_of_the_yolo_folder_is_explained(tmp_path, name, advice):
    (tmp_path / name).write_text(NAMES)
    with pytest.raises(DatasetError, match=f"{name} is a file. {advice}"):
        read_yolo(tmp_path / name, image_set="train")


DAMAGE = [(0, b"", "the image file is empty"), (0, b"<html>404</html>", ""), (500, b"", "")]
"""Bytes that are kept, appended bytes, and the reason."""


@pytest.mark.parametrize(("kept", "appended", "reason"), DAMAGE)
def test_damaged_images_of_a_yolo_data_set_are_skipped_and_named(tmp_path, save_image, kept, appended, reason):
    files = {f"labels/{name}.txt": BOX for name in "abc"} | {"data.yaml": NAMES}
    write_files(tmp_path / "source", images("images/a.jpg", "images/b.jpg", "images/c.jpg") | files, save_image)
    path = tmp_path / "source" / "images" / "b.jpg"
    path.write_bytes(path.read_bytes()[:kept] + appended)
    dataset = read_yolo(tmp_path / "source", image_set="train")
    assert write_imported(dataset, tmp_path / "made").images_by_set == {"train": 2}
    assert [f"1 image that cannot be read: skipped (b.jpg: {reason}" in note for note in dataset.notes] == [True]
    assert check_dataset(tmp_path / "made").errors == 0


def test_a_yolo_data_set_of_damaged_images_is_refused(tmp_path):
    write_files(tmp_path, {"images/a.jpg": "", "images/b.jpg": "x", "labels/a.txt": BOX, "data.yaml": NAMES}, None)
    with pytest.raises(DatasetError, match=r"none of its 2 images can be read\. a\.jpg: the image file is empty\."):
        read_yolo(tmp_path, image_set="train")
