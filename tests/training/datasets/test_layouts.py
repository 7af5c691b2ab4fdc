"""Data sets as public tools and bug reports have them: what is imported, and what is refused with which advice."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import tostring

import numpy as np
import pytest
from PIL import Image

from training.data.voc_layout import image_names, image_sets
from training.data.voc_reader import parse_annotation, read_annotation, read_set
from training.data.voc_writer import set_text
from training.datasets.check import check_dataset
from training.datasets.importers.base import write_imported
from training.datasets.importers.coco import read_coco, set_of_coco_file
from training.datasets.importers.yolo import read_yolo
from training.datasets.repair import repair_dataset
from training.errors import DatasetError

BOX = "0 0.5 0.5 0.5 0.5\n"
NAMES = "names: [dog, cat]\n"


@dataclass(frozen=True)
class Layout:
    """Files of a YOLO data set, and the expected import."""

    name: str
    files: dict[str, str | None]  # path -> text; None: an image
    sets: dict[str, int] = field(default_factory=dict)  # images by set
    boxes: int = 0
    notes: tuple[str, ...] = ()  # parts of notes
    error: str = ""  # part of the message


def images(*paths):
    return dict.fromkeys(paths)


LAYOUTS = [
    # image sets from data.yaml
    Layout(
        "sets in data.yaml with folders train2017 and val2017",
        images("images/train2017/a.jpg", "images/val2017/b.jpg")
        | {"labels/train2017/a.txt": BOX, "labels/val2017/b.txt": BOX}
        | {"data.yaml": f"path: ../datasets/coco8\ntrain: images/train2017\nval: images/val2017\ntest:\n{NAMES}"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "a list of folders with names that are not sets",
        images("day1/images/a.jpg", "day2/images/b.jpg")
        | {"day1/labels/a.txt": BOX, "day2/labels/b.txt": BOX, "data.yaml": f"train: [day1/images]\nval: day2/images\n{NAMES}"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "list files in data.yaml",
        images("images/a.jpg", "images/b.jpg")
        | {"labels/a.txt": BOX, "labels/b.txt": BOX, "train.txt": "./images/a.jpg\n", "val.txt": "./images/b.jpg\n"}
        | {"data.yaml": f"path: .\ntrain: train.txt\nval: val.txt\n{NAMES}"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "Roboflow's paths, which are wrong by one level",
        images("train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg")
        | {"train/labels/a.txt": BOX, "valid/labels/b.txt": BOX, "test/labels/c.txt": BOX}
        | {"data.yaml": f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\n{NAMES}", "README.roboflow.txt": "hello\n"},
        {"train": 1, "val": 1, "test": 1},
        3,
    ),
    Layout(
        "a test set that was not exported",
        images("train/images/a.jpg", "valid/images/b.jpg")
        | {"train/labels/a.txt": BOX, "valid/labels/b.txt": BOX}
        | {"data.yaml": f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\n{NAMES}"},
        {"train": 1, "val": 1},
        2,
        ("The test set (../test/images) does not exist",),
    ),
    Layout(
        "absolute paths of another machine",
        images("images/train/a.jpg", "images/val/b.jpg")
        | {"labels/train/a.txt": BOX, "labels/val/b.txt": BOX}
        | {"data.yaml": f"train: /home/me/data/images/train\nval: /home/me/data/images/val\n{NAMES}"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "one folder for train and val, as in coco8",
        images("images/train/a.jpg") | {"labels/train/a.txt": BOX, "data.yaml": f"train: images/train\nval: images/train\n{NAMES}"},
        {"train": 1, "val": 1},
        1,
        ("1 image in several sets",),
    ),
    Layout(
        "images outside of the named sets",
        images("images/train/a.jpg", "images/val/b.jpg", "images/extra/c.jpg")
        | {"labels/train/a.txt": BOX, "labels/val/b.txt": BOX, "data.yaml": f"train: images/train\nval: images/val\n{NAMES}"},
        {"train": 1, "val": 1},
        2,
        ("1 image outside of the named sets",),
    ),
    Layout(
        "a validation set that does not exist",
        images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": f"train: images\nval: elsewhere\n{NAMES}"},
        error="name val: elsewhere, but no image was found there",
    ),
    Layout(
        "a list file with only missing images",
        images("images/a.jpg") | {"labels/a.txt": BOX, "train.txt": "images/x.jpg\n", "data.yaml": f"train: train.txt\n{NAMES}"},
        error="name train: train.txt, but no image was found there",
    ),
    Layout(
        "a list file with some images that do not exist",
        images("images/a.jpg")
        | {"labels/a.txt": BOX, "train.txt": "images/a.jpg\nimages/x.jpg\n", "data.yaml": f"train: train.txt\n{NAMES}"},
        {"train": 1},
        1,
        ("1 image in the list of train without a file",),
    ),
    # Darknet and CVAT
    Layout(
        "Darknet's obj.data",
        images("obj/0.jpg", "obj/1.jpg")
        | {"obj/0.txt": BOX, "obj/1.txt": BOX, "obj.names": "dog\n", "train.txt": "data/obj/0.jpg\n", "test.txt": "data/obj/1.jpg\n"}
        | {"obj.data": "classes=1\ntrain=data/train.txt\nvalid=data/test.txt\nnames=data/obj.names\nbackup=backup/\n"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "CVAT's YOLO 1.1",
        images("obj_train_data/a.jpg", "obj_valid_data/b.jpg")
        | {"obj_train_data/a.txt": BOX, "obj_valid_data/b.txt": BOX, "obj.names": "dog\n"}
        | {"train.txt": "data/obj_train_data/a.jpg\n", "valid.txt": "data/obj_valid_data/b.jpg\n"}
        | {"obj.data": "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "list files without a configuration",
        images("img/a.jpg", "img/b.jpg")
        | {"labels/a.txt": BOX, "labels/b.txt": BOX, "classes.txt": "dog\n", "train.txt": "img/a.jpg\n", "val.txt": "img/b.jpg\n"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "lists with backslashes",
        images("images/a.jpg")
        | {"labels/a.txt": BOX, "train.txt": "C:\\data\\images\\a.jpg\r\n", "data.yaml": f"train: train.txt\n{NAMES}"},
        {"train": 1},
        1,
    ),
    # image sets from folder names
    Layout(
        "folder names in capitals",
        images("Train/images/a.jpg", "Val/images/b.jpg") | {"Train/labels/a.txt": BOX, "Val/labels/b.txt": BOX, "data.yaml": NAMES},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "folder names training and testing",
        images("training/images/a.jpg", "testing/images/b.jpg")
        | {"training/labels/a.txt": BOX, "testing/labels/b.txt": BOX, "data.yaml": NAMES},
        {"train": 1, "test": 1},
        2,
    ),
    Layout(
        "folder names with suffixes",
        images("images/train2017/a.jpg", "images/val2017/b.jpg", "images/test-dev2017/c.jpg")
        | {"labels/train2017/a.txt": BOX, "labels/val2017/b.txt": BOX, "data.yaml": NAMES},
        {"train": 1, "val": 1, "test": 1},
        2,
        ("1 image without a label file",),
    ),
    Layout(
        "a folder trainval is neither train nor val",
        images("images/trainval/a.jpg") | {"labels/trainval/a.txt": BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
    ),
    # places of label files
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
    # file names
    Layout(
        "suffixes in any case",
        images("images/a.Jpg", "images/b.JPEG", "images/c.Png", "images/d.jfif")
        | {f"labels/{name}.txt": BOX for name in "abcd"}
        | {"data.yaml": NAMES},
        {"default": 4},
        4,
    ),
    Layout("label files with a suffix in capitals", images("images/a.jpg") | {"labels/a.TXT": BOX, "data.yaml": NAMES}, {"default": 1}, 1),
    # files of other programs
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
    # class names
    Layout("classes.txt of LabelImg among the labels", images("a.jpg") | {"a.txt": BOX, "sub/classes.txt": "dog\n"}, {"default": 1}, 1),
    Layout("Roboflow's _darknet.labels", images("train/a.jpg") | {"train/a.txt": BOX, "train/_darknet.labels": "dog\n"}, {"train": 1}, 1),
    Layout("another name of the YAML file", images("images/a.jpg") | {"labels/a.txt": BOX, "coco8.yaml": NAMES}, {"default": 1}, 1),
    Layout("no class names", images("images/a.jpg") | {"labels/a.txt": BOX}, error="the class names are missing"),
    # lines of label files
    Layout(
        "a polygon slightly outside of the image",
        images("images/a.jpg") | {"labels/a.txt": "0 0.1 0.1 1.02 0.1 0.5 0.9\n", "data.yaml": NAMES},
        {"default": 1},
        1,
        ("1 box clipped to the image", "1 polygon: imported as the upright rectangle around it"),
    ),
    Layout(
        "a box slightly outside of the image",
        images("images/a.jpg") | {"labels/a.txt": "0 -0.02 0.5 0.1 0.5\n", "data.yaml": NAMES},
        {"default": 1},
        1,
        ("1 box clipped to the image",),
    ),
    Layout(
        "a sixth column with confidences",
        images("images/a.jpg") | {"labels/a.txt": "0 0.5 0.5 0.5 0.5 0.91\n", "data.yaml": NAMES},
        error="The sixth looks like a confidence",
    ),
    Layout(
        "several invalid lines",
        images("images/a.jpg", "images/b.jpg")
        | {"labels/a.txt": "0 7 7 1 1\n0 0.5\n", "labels/b.txt": "9 0.5 0.5 1 1\n", "data.yaml": NAMES},
        error="3 lines of label files cannot be used",
    ),
    Layout(
        "a byte order mark", images("images/a.jpg") | {"labels/a.txt": f"\ufeff{BOX}", "data.yaml": f"\ufeff{NAMES}"}, {"default": 1}, 1
    ),
    # faults found with exports of public tools
    Layout(
        "a commented line in obj.data",
        images("obj/0.jpg", "obj/1.jpg")
        | {"obj/0.txt": BOX, "obj/1.txt": BOX, "obj.names": "dog\n", "train.txt": "obj/0.jpg\nobj/1.jpg\n", "old.txt": "obj/1.jpg\n"}
        | {"obj.data": "classes=1\ntrain=data/train.txt\n#valid=data/old.txt\n; test=old.txt\nnames=data/obj.names\n"},
        {"train": 2},
        2,
    ),
    Layout(
        "labels are preferred to annotations",
        images("images/a.jpg") | {"labels/a.txt": BOX, "annotations/a.txt": BOX + BOX, "data.yaml": NAMES},
        {"default": 1},
        1,
        ("1 label file without an image, such as annotations/a.txt",),
    ),
    Layout(
        "sets that data.yaml names None",
        images("train/a.jpg") | {"train/a.txt": BOX, "data.yaml": f'train: None\nval: ""\ntest: NULL\n{NAMES}'},
        {"train": 1},
        1,
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
        error="A label file has the name of its image (images/a.jpg: labels/a.txt)",
    ),
    Layout(
        "label files named after the complete image name, in another case, or with URL escapes",
        images("images/a.jpg", "images/B.jpg", "images/my cat.jpg")
        | {"labels/a.jpg.txt": BOX, "labels/b.txt": BOX, "labels/my%20cat.txt": BOX, "data.yaml": NAMES},
        {"default": 3},
        3,
    ),
    Layout(
        "a label file of exactly the image's name comes before a similar one",
        images("images/a.jpg", "images/A.jpg") | {"labels/a.txt": BOX, "data.yaml": NAMES},
        {"default": 2},
        1,
        ("1 image without a label file, such as images/A.jpg",),
    ),
    Layout(
        "DOTA's labels in labelTxt",
        images("train/images/a.jpg")
        | {"train/labelTxt/a.txt": "imagesource:x\ngsd:0.1\n10.0 10.0 30.0 10.0 30.0 30.0 10.0 30.0 dog 0\n", "data.yaml": NAMES},
        error="expected numbers: class x y width height",
    ),
    Layout(
        "labels with class names in a folder of another name",
        images("images/a.jpg") | {"marks/a.txt": "dog 0.5 0.5 0.2 0.2\n", "data.yaml": NAMES},
        error="1 label file found, such as marks/a.txt, but none belongs to an image",
    ),
    Layout(
        "VoTT's sets in a subfolder",
        images("data/obj/a.jpg", "data/obj/b.jpg")
        | {"data/obj/a.txt": BOX, "data/obj/b.txt": BOX, "data/obj.names": "dog\n"}
        | {"data/obj.data": "classes = 1\ntrain = data/train.txt\nvalid = data/test.txt\nnames = data/obj.names\n"}
        | {"data/train.txt": "data/obj/a.jpg\n", "data/test.txt": "data/obj/b.jpg\n"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "list files next to the class names in a subfolder",
        images("pets/a.jpg", "pets/b.jpg")
        | {"pets/a.txt": BOX, "pets/b.txt": BOX, "pets/classes.txt": "dog\n"}
        | {"pets/train.txt": "a.jpg\n", "pets/val.txt": "b.jpg\n"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "an empty list of validation images",
        images("obj/a.jpg")
        | {"obj/a.txt": BOX, "obj.names": "dog\n", "obj.data": "train = data/train.txt\nvalid = data/test.txt\n"}
        | {"train.txt": "data/obj/a.jpg\n", "test.txt": ""},
        {"train": 1},
        1,
        ("The list of val (data/test.txt) is empty and is skipped.",),
    ),
    Layout(
        "folders with different class files",
        images("x/a.jpg", "y/b.jpg") | {"x/a.txt": BOX, "y/b.txt": BOX, "x/classes.txt": "dog\n", "y/classes.txt": "cat\n"},
        error="class 0 is 'dog' in x/classes.txt, but 'cat' in y/classes.txt",
    ),
    Layout(
        "a class file at the top that a class file in a subfolder contradicts",
        images("a.jpg", "y/b.jpg") | {"a.txt": BOX, "y/b.txt": BOX, "classes.txt": "dog\n", "y/classes.txt": "cat\n"},
        error="class 0 is 'dog' in classes.txt, but 'cat' in y/classes.txt",
    ),
    Layout(
        "class files of which one has more classes, and LabelImg's suggestions",
        images("a.jpg", "y/b.jpg")
        | {"a.txt": BOX, "y/b.txt": BOX, "classes.txt": "dog\ncat\n", "y/classes.txt": "dog\n", "data/predefined_classes.txt": "man\n"},
        {"default": 2},
        2,
    ),
    Layout(
        "two YAML files with different classes",
        images("images/a.jpg") | {"labels/a.txt": BOX, "coco.yaml": "names: [person]\n", "pets.yaml": NAMES},
        error="class 0 is 'person' in coco.yaml, but 'dog' in pets.yaml",
    ),
    Layout(
        "data.yaml comes before other files with classes",
        images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": NAMES, "pets.yaml": "names: [x]\n", "labels/classes.txt": "y\n"},
        {"default": 1},
        1,
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
        "a class without a name",
        images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": "names:\n  0:\n  1: cat\n"},
        error="line 1 has class 0, but data.yaml names only 1: cat.",
    ),
    Layout(
        "a class beyond a long list of names",
        images("images/a.jpg")
        | {"labels/a.txt": "99 0.5 0.5 0.5 0.5\n", "data.yaml": f"names: [{', '.join(f'c{i}' for i in range(80))}]\n"},
        error="9: c9 and 70 more.",
    ),
    Layout(
        "a Windows path in double quotes",
        images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": 'train: "C:\\data\\images"\n' + NAMES},
        error="Write / instead of \\ in paths",
    ),
    Layout(
        "key points in two dimensions",
        images("images/a.jpg") | {"labels/a.txt": "0 0.5 0.5 0.2 0.2 0.1 0.45 0.9 0.55\n", "data.yaml": f"kpt_shape: [2, 2]\n{NAMES}"},
        {"default": 1},
        1,
        ("1 box imported without its key points",),
    ),
    Layout(
        "key points with visibility",
        images("images/a.jpg") | {"labels/a.txt": "0 0.5 0.5 0.2 0.2 0.45 0.45 2\n", "data.yaml": f"kpt_shape: [1, 3]\n{NAMES}"},
        {"default": 1},
        1,
        ("1 box imported without its key points",),
    ),
]


def test_key_points_are_recognised_without_kpt_shape(tmp_path, save_image):
    poses = "0 0.5 0.5 0.4 0.6 0.4 0.4 2 0.6 0.7 1 0 0 0\n"
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": poses + BOX, "data.yaml": NAMES}, save_image)
    dataset = read_yolo(root, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes[0], [18, 8, 42, 32], atol=1e-3)
    assert dataset.notes == ("1 box imported without its key points.",)


def test_polygons_that_look_like_key_points_in_one_line_stay_polygons(tmp_path, save_image):
    corner = "0 0.5 0.5 0.6 0.6 0.9 0.9 1 0.6 0.6 1\n"
    other = "0 0.1 0.2 0.5 0.1 0.3 0.75\n"
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": corner + other, "data.yaml": NAMES}, save_image)
    dataset = read_yolo(root, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes[1], [6, 4, 30, 30], atol=1e-3)
    assert dataset.notes[0].startswith("2 polygons: imported as the upright rectangle")


@pytest.mark.parametrize("name", ["labels.txt", "Labels.txt", "names.txt", "class_names.txt", "data/labels.txt"])
def test_other_names_of_class_files_are_read_if_there_is_no_usual_one(tmp_path, save_image, name):
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": BOX, name: "owl\nfox\n"}, save_image)
    assert read_yolo(root, image_set="train").images[0].labels == ("owl",)
    (root / "classes.txt").write_text("dog\ncat\n")
    assert read_yolo(root, image_set="train").images[0].labels == ("dog",)


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


def write_files(root, files, save_image):
    for seed, (path, text) in enumerate(files.items()):
        if text is None:
            save_image(root / path, seed, format="PNG" if path.lower().endswith("png") else "JPEG")
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_yolo_layout_is_imported_or_refused_with_advice(tmp_path, save_image, layout):
    root = tmp_path / "source"
    write_files(root, layout.files, save_image)
    if layout.error:
        with pytest.raises(DatasetError) as caught:
            write_imported(read_yolo(root, image_set="default"), tmp_path / "made")
        assert layout.error in str(caught.value)
        return
    dataset = read_yolo(root, image_set="default")
    summary = write_imported(dataset, tmp_path / "made")
    assert (summary.images_by_set, summary.boxes) == (layout.sets, layout.boxes)
    for part, note in zip(layout.notes, dataset.notes, strict=True):
        assert part in note


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


def test_a_box_of_key_points_keeps_its_own_sides(tmp_path, save_image):
    files = {"labels/a.txt": "0 0.5 0.5 0.2 0.2 0.1 0.45 0.9 0.55\n", "data.yaml": f"kpt_shape: [2, 2]\n{NAMES}"}
    write_files(tmp_path, images("images/a.jpg") | files, save_image)
    np.testing.assert_allclose(read_yolo(tmp_path, image_set="train").images[0].boxes, [[24, 16, 36, 24]], atol=1e-4)


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


@pytest.mark.parametrize("path", ["labels/a.txt", "data.yaml"])
def test_text_in_utf_16_gets_advice(tmp_path, save_image, path):
    write_files(tmp_path, images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": NAMES}, save_image)
    (tmp_path / path).write_text(NAMES, encoding="utf-16")
    with pytest.raises(DatasetError, match=r"is not UTF-8 text .* Save it as UTF-8"):
        read_yolo(tmp_path, image_set="train")


def coco(tmp_path, save_image, annotation, *, place="instances.json", path="a.jpg", byte_order_mark=b"", **image):
    save_image(tmp_path / path, 1)
    entry = {"id": 1, "file_name": "a.jpg", "width": 60, "height": 40} | image
    content = {"images": [entry], "annotations": [{"image_id": 1, "category_id": 1} | annotation], "categories": [{"id": 1, "name": "dog"}]}
    annotations = tmp_path / place
    annotations.parent.mkdir(parents=True, exist_ok=True)
    annotations.write_bytes(byte_order_mark + json.dumps(content).encode())
    return annotations


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
        (
            {"bbox": [10, 5, 20, 30]},
            {"path": "images/train2017/a.jpg", "place": "annotations/instances_train2017.json"},
            [[10, 5, 30, 35]],
        ),
    ],
)
def test_unusual_coco_annotations_are_imported(tmp_path, save_image, annotation, options, boxes):
    dataset = read_coco(coco(tmp_path, save_image, annotation, **options), None, image_set="train")
    np.testing.assert_allclose(dataset.images[0].boxes, np.array(boxes, np.float32).reshape(-1, 4), atol=1e-5)
    assert dataset.images[0].size == (60, 40)
    assert dataset.notes == (("1 rotated box: imported as the upright rectangle around it.",) if boxes == [[18, 2, 22, 22]] else ())


def test_rotated_coco_boxes_are_noted(tmp_path, save_image):
    path = coco(tmp_path, save_image, {"bbox": [10, 10, 20, 4], "attributes": {"rotation": 30}})
    assert read_coco(path, None, image_set="train").notes == ("1 rotated box: imported as the upright rectangle around it.",)


@pytest.mark.parametrize(
    ("file_name", "path"),
    [
        ("A.JPG", "a.jpg"),
        ("a.jpg", "A.JPG"),
        ("IMAGES/a.JPG", "images/A.jpg"),
        ("my%20cat.jpg", "my cat.jpg"),
        ("my%20cat.jpg", "my%20cat.jpg"),
        ("caf%C3%A9.jpg", "café.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("folder/a.jpg", "a.jpg"),
        ("data/pets/sub/a.jpg", "images/sub/a.jpg"),
        ("../images/a.jpg", "images/a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        ("C:\\Users\\me\\pets\\a.jpg", "images/a.jpg"),
        ("/home/me/pets/a.jpg", "a.jpg"),
        ("https://host.example/pets/my%20cat.jpg?size=large#top", "my cat.jpg"),
        ("s3://bucket/pets/a.jpg", "a.jpg"),
        ("/data/local-files/?d=pets%5Ca.jpg", "images/a.jpg"),
        ("/data/upload/1/0ab3-a.jpg", "images/0ab3-a.jpg"),
        ("a.jpg", "data/a.jpg"),
        ("a.jpg", "img/a.jpg"),
        ("what?.jpg", "what?.jpg"),
    ],
)
def test_coco_images_are_found_under_the_names_that_tools_write(tmp_path, save_image, file_name, path):
    annotations = coco(tmp_path, save_image, {"bbox": [10, 5, 20, 30]}, path=path, file_name=file_name)
    dataset = read_coco(annotations, None, image_set="train")
    assert [image.path for image in dataset.images] == [tmp_path / path]
    assert write_imported(dataset, tmp_path / "made").boxes == 1


def test_the_images_of_a_cvat_subset_are_found(tmp_path, save_image):
    place = "annotations/instances_default.json"
    annotations = coco(tmp_path, save_image, {"bbox": [10, 5, 20, 30]}, place=place, path="images/default/a.jpg")
    assert len(read_coco(annotations, None, image_set="train").images) == 1


def test_a_coco_image_is_missing_if_two_files_differ_from_its_name_in_case(tmp_path, save_image):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]}, path="A.jpg", file_name="a.JPG")
    save_image(tmp_path / "a.jpg", 2)
    if not (tmp_path / "A.JPG").exists():  # a file system that distinguishes case
        with pytest.raises(DatasetError, match="none of its images"):
            read_coco(path, None, image_set="train")


@pytest.mark.parametrize("file_name", ["../../etc/a.jpg", "%2e%2e/%2e%2e/a.jpg", "..%5C..%5Ca.jpg", "https://h/%2e%2e/a.jpg", "%00a.jpg"])
def test_a_coco_name_never_leads_out_of_the_folder(tmp_path, save_image, file_name):
    save_image(tmp_path / "a.jpg", 2)
    path = coco(tmp_path / "x" / "y", save_image, {"bbox": [1, 2, 3, 4]}, path="other.jpg", file_name=file_name)
    with pytest.raises(DatasetError, match="none of its images"):
        read_coco(path, path.parent, image_set="train")


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


def test_damaged_coco_images_are_skipped_and_named(tmp_path, save_image):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "b.jpg", "width": 5, "height": 5})
    path.write_text(json.dumps(content))
    (tmp_path / "b.jpg").write_bytes(b"")
    dataset = read_coco(path, None, image_set="train")
    assert [image.path.name for image in dataset.images] == ["a.jpg"]
    assert dataset.notes == ("1 image that cannot be read: skipped (b.jpg: the image file is empty).",)


@pytest.mark.parametrize(("image_id", "category_id"), [("1", 1), (1, "1"), ("1", "1"), (1.0, 1.0)])
def test_coco_ids_may_be_numbers_or_texts(tmp_path, save_image, image_id, category_id):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4], "image_id": image_id, "category_id": category_id})
    assert read_coco(path, None, image_set="train").images[0].labels == ("dog",)


@pytest.mark.parametrize(("name", "label"), [(" dog ", "dog"), (5, "5")])
def test_coco_labels_are_trimmed_and_may_be_numbers(tmp_path, save_image, name, label):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = name
    path.write_text(json.dumps(content))
    assert read_coco(path, None, image_set="train").images[0].labels == (label,)


def test_an_ignored_coco_box_is_difficult_but_no_crowd(tmp_path, save_image):
    image = read_coco(coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4], "ignore": 1}), None, image_set="train").images[0]
    assert (image.difficult.tolist(), image.crowd.tolist()) == ([True], [False])


def test_two_coco_images_in_different_folders_never_share_one_file(tmp_path, save_image):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]}, file_name="x/a.jpg")
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "y/a.jpg"})
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"the images 1 \(x/a\.jpg\) and 2 \(y/a\.jpg\) are one file"):
        read_coco(path, None, image_set="train")


def test_a_coco_file_in_utf_16_gets_advice(tmp_path):
    (tmp_path / "a.json").write_text("{}", encoding="utf-16")
    with pytest.raises(DatasetError, match=r"is UTF-16 text\. Save it as UTF-8"):
        read_coco(tmp_path / "a.json", None, image_set="train")


def test_a_missing_coco_image_is_named(tmp_path, save_image):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "B.JPG"})
    path.write_text(json.dumps(content))
    notes = read_coco(path, None, image_set="train").notes
    assert notes == ("1 image named in the file but missing, such as B.JPG: skipped.",)


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


def test_a_folder_in_place_of_the_coco_file_leads_to_the_file(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "_annotations.coco.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"is a folder\. Give the \.json file, such as .*train/_annotations\.coco\.json"):
        read_coco(tmp_path, None, image_set="train")


def test_a_coco_box_of_five_numbers_is_a_rotated_box(tmp_path, save_image):
    with pytest.raises(DatasetError, match=r"5 numbers, .* rotated boxes.* Export upright boxes"):
        read_coco(coco(tmp_path, save_image, {"bbox": [10, 10, 5, 5, 30]}), None, image_set="train")


def test_two_coco_categories_with_one_id_are_refused(tmp_path, save_image):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
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


def test_missing_coco_images_suggest_the_option(tmp_path, save_image):
    path = coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]}, path="other/folder/a.jpg", place="json/a.json")
    with pytest.raises(DatasetError, match="Name the folder of the images with --photos"):
        read_coco(path, None, image_set="train")


def test_a_second_image_set_is_added_to_an_existing_data_set(tmp_path, save_image):
    out = tmp_path / "made"
    for name, image_set in (("one", "train"), ("two", "val")):
        path = coco(tmp_path / name, save_image, {"bbox": [1, 2, 3, 4]}, path=f"{name}.jpg", file_name=f"{name}.jpg")
        write_imported(read_coco(path, None, image_set=image_set), out)
    assert image_sets(out) == ("train", "val")
    assert [sample.name for sample in read_set(out, "val")] == ["two"]
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    for image_set, message in (("val", "there is an image set 'val' already"), ("test", "two.xml exists already")):
        with pytest.raises(DatasetError, match=message):
            write_imported(read_coco(tmp_path / "two" / "instances.json", None, image_set=image_set), out)
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    assert not list(tmp_path.glob(".*.part"))


def test_roboflows_voc_export_is_read(tmp_path, annotated, save_image):
    for seed, name in enumerate(("train/a", "train/b", "valid/c", "test/d")):
        save_image(tmp_path / f"{name}.jpg", seed)
        (tmp_path / f"{name}.xml").write_text(annotated([("dog", 1, 1, 30, 40)], filename=f"{name[-1]}.jpg"))
    assert image_sets(tmp_path) == ("test", "train", "val")
    assert [sample.name for sample in read_set(tmp_path, "train")] == ["train/a", "train/b"]
    assert [sample.image_path.name for sample in read_set(tmp_path, "val")] == ["c.jpg"]
    assert image_names(tmp_path, "all") == ["test/d", "train/a", "train/b", "valid/c"]
    assert check_dataset(tmp_path).errors == 0


def test_files_of_other_programs_are_ignored(make_dataset, annotated):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]})
    for path in (
        ".ipynb_checkpoints/a-checkpoint.xml",
        "@eaDir/a.xml",
        "__MACOSX/a.xml",
        "#recycle/a.xml",
        "$RECYCLE.BIN/a.xml",
        "._a.xml",
    ):
        file = folder / "Annotations" / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(annotated([]))
    for path in (".thumbs/a.jpg", "@eaDir/a.jpg/b.jpg", "__MACOSX/c.jpg"):
        file = folder / "JPEGImages" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    assert [sample.name for sample in read_set(folder, "all")] == ["a"]
    assert check_dataset(folder).findings == ()


@pytest.mark.parametrize("places", [("JPEGImages", "Annotations"), (".", "."), ("train", "train")])
def test_annotations_with_a_suffix_in_capitals_are_read(tmp_path, annotated, save_image, places):
    save_image(tmp_path / places[0] / "a.JPG", 1, format="JPEG")
    (tmp_path / places[1]).mkdir(exist_ok=True)
    (tmp_path / places[1] / "a.XML").write_text(annotated([("dog", 1, 1, 30, 40)]))
    assert [sample.labels for sample in read_set(tmp_path, "all")] == [("dog",)]
    assert check_dataset(tmp_path).findings == ()


@pytest.mark.parametrize(
    "line",
    [
        *("a.xml", "JPEGImages/a.jpg", "./JPEGImages/a.jpg", "data/VOC/JPEGImages/a.JPG", "a.jpg", "a"),
        *("/home/x/JPEGImages/a.jpg", "../a.jpg", "JPEGImages\\a.jpg", "C:\\VOC\\JPEGImages\\a.jpg"),
    ],
)
def test_a_path_in_a_list_names_its_image(make_dataset, line):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"train": [line]})
    assert [sample.name for sample in read_set(folder, "train")] == ["a"]


@pytest.mark.parametrize("name", ["a.Jpg", "a.JFIF", "a.jPeG"])
def test_voc_images_may_have_suffixes_in_any_case(make_dataset, name):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]})
    (folder / "JPEGImages" / "a.jpg").rename(folder / "JPEGImages" / name)
    assert read_set(folder, "all")[0].image_path.name == name
    assert read_annotation(folder, "a").size == (60, 40)


@pytest.mark.parametrize("image_set", ["train", "val"])
def test_a_folder_without_lists_leads_to_data_split(tmp_path, annotated, save_image, image_set):
    save_image(tmp_path / "a.jpg", 1)
    (tmp_path / "a.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    with pytest.raises(DatasetError, match=f"Run `boxwright data split {tmp_path}` first"):
        read_set(tmp_path, image_set)


def test_a_data_set_with_only_a_train_list_leads_to_splitting_that(make_dataset):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"train": ["a"]})
    with pytest.raises(DatasetError, match=f"Run `boxwright data split {folder} --set train --force` first"):
        read_set(folder, "val")


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (("raccoon", "racoon"), 1),
        (("bicycle", "bycicle"), 0),
        (("bicycle", "bicylce"), 1),
        (("persons", "person"), 1),
        (("cat", "car"), 0),
        (("class1", "class2"), 0),
        (("lizard", "wizard"), 1),
        (("raccoon", "elephant"), 0),
    ],
)
def test_labels_that_differ_by_one_letter_are_a_finding(make_dataset, labels, pairs):
    check = check_dataset(make_dataset({"a": [(label, 1, 1, 30 + index, 40) for index, label in enumerate(labels)]}))
    assert sum(finding.kind == "similar-label" for finding in check.findings) == pairs
    assert check.errors == 0


def test_linked_folders_are_a_finding(make_dataset, tmp_path):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]})
    (tmp_path / "other").mkdir()
    (folder / "JPEGImages" / "more").symlink_to(tmp_path / "other")
    assert [(finding.kind, finding.where) for finding in check_dataset(folder).findings] == [("linked-folder", "JPEGImages/more")]


@pytest.mark.parametrize(
    ("name", "filename", "image"), [("IMG_1", "", "img_1.jpg"), ("img", "IMG.JPG", "Img.jpeg"), ("x", "A.JPG", "a.jpg")]
)
def test_an_image_is_found_in_another_case_and_the_repaired_annotation_has_its_name(make_dataset, tmp_path, name, filename, image):
    folder = make_dataset({name: [("dog", 1, 1, 9, 9)]}, {"train": [name]})
    (folder / "JPEGImages" / f"{name}.jpg").rename(folder / "JPEGImages" / image)
    xml = folder / "Annotations" / f"{name}.xml"
    root = parse_annotation(xml)
    set_text(root, "filename", filename)
    xml.write_bytes(tostring(root))
    (sample,) = read_set(folder, "train")
    assert sample.image_path.name == image
    repair_dataset(check_dataset(folder), tmp_path / "fixed")
    fixed = read_annotation(tmp_path / "fixed", name).filename
    assert fixed in ("", f"{name}{sample.image_path.suffix}")
    assert fixed == "" or (tmp_path / "fixed" / "JPEGImages" / fixed).is_file()


def test_an_image_is_missing_if_two_images_differ_from_its_name_in_case(make_dataset):
    folder = make_dataset({"abc": []}, {"train": ["abc"]})
    image = folder / "JPEGImages" / "abc.jpg"
    (folder / "JPEGImages" / "ABC.jpg").write_bytes(image.read_bytes())
    image.rename(folder / "JPEGImages" / "Abc.jpg")
    with pytest.raises(DatasetError, match="its image is in none of"):
        read_set(folder, "train")


def test_an_image_of_an_unsupported_format_is_named(make_dataset):
    folder = make_dataset({"a": []}, {"train": ["a"]})
    (folder / "JPEGImages" / "a.jpg").rename(folder / "JPEGImages" / "a.HEIC")
    with pytest.raises(DatasetError, match=r"a\.HEIC is of a format that Boxwright does not read\. Convert it to JPEG"):
        read_set(folder, "train")


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_folder(tmp_path, save_image, make_dataset, deny_reading):
    root = write_files(tmp_path / "yolo", images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": NAMES}, save_image)
    folder = make_dataset({"a": []})
    deny_reading(root / "labels")
    with pytest.raises(PermissionError, match="labels"):
        read_yolo(root, image_set="train")
    deny_reading(folder / "Annotations")
    with pytest.raises(PermissionError, match="Annotations"):
        read_set(folder, "all")


MASK = {"size": [4, 5], "counts": [5, 2, 2, 3, 8]}  # columns 1 to 2: rows 1 to 2, then rows 1 to 3
MASK_IN_LETTERS = {"size": [4, 5], "counts": "52216"}


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        (MASK, [1, 1, 3, 4]),
        ({"size": [4, 5], "counts": [6, 4, 10]}, [1, 0, 3, 4]),
        ({"size": [4, 5], "counts": [0, 20]}, [0, 0, 5, 4]),
    ],
)
def test_a_box_is_derived_from_a_mask_of_runs(tmp_path, save_image, segmentation, box):
    for number, empty in enumerate(({}, {"bbox": [0, 0, 0, 0]})):
        file = coco(tmp_path / str(number), save_image, {"segmentation": segmentation} | empty)
        np.testing.assert_array_equal(read_coco(file, None, image_set="train").images[0].boxes, [box])


def test_a_box_is_derived_from_a_compressed_mask(tmp_path, save_image):
    file = coco(tmp_path, save_image, {"segmentation": MASK_IN_LETTERS})
    np.testing.assert_array_equal(read_coco(file, None, image_set="train").images[0].boxes, [[1, 1, 3, 4]])


@pytest.mark.parametrize(
    "segmentation",
    [
        {},
        {"size": [4, 5], "counts": []},
        {"size": [0, 5], "counts": [1, 2]},
        {"counts": "\u00ff"},
        [[1, 2, 5]],
        {"size": [40, 60], "counts": "abc"},
        {"size": [40, 60], "counts": "o" * 1_000_000},
        {"size": 4, "counts": [-1, 2]},
    ],
)
def test_annotations_that_all_lack_a_box_are_refused(tmp_path, save_image, segmentation):
    file = coco(tmp_path, save_image, {"segmentation": segmentation})
    with pytest.raises(DatasetError, match="none of its 1 annotation has a box, a polygon or a mask"):
        read_coco(file, None, image_set="train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE annotation><annotation/>", "document types are refused"),
        ("<annotation><filename>\u72d7.jpg</filename></annotation>".encode("gbk"), r"invalid token.*Save it as UTF-8\."),
        ('<?xml version="1.0" encoding="gbk"?><annotation>\u72d7</annotation>'.encode("gbk"), r"multi-byte encodings.*Save it as UTF-8\."),
    ],
)
def test_unreadable_annotations_get_advice(make_dataset, content, message):
    folder = make_dataset({"a": []})
    (folder / "Annotations" / "a.xml").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_set(folder, "all")


@pytest.mark.parametrize(("images", "annotations"), [("Images", "Annotations"), ("IMAGES", "ANNOTATIONS")])
def test_voc_folders_may_be_in_capitals(make_dataset, images, annotations):
    folder = make_dataset({"a": [("dog", 1, 1, 9, 9)]})
    (folder / "JPEGImages").rename(folder / images)
    (folder / "Annotations").rename(folder / annotations)
    assert read_set(folder, "all")[0].labels == ("dog",)


def test_a_folder_above_a_voc_data_set_leads_to_it(make_dataset, tmp_path):
    make_dataset({"a": []}, folder="VOCdevkit/VOC2007")
    with pytest.raises(DatasetError, match=r"such as .*VOCdevkit/VOC2007\."):
        image_sets(tmp_path)


@pytest.mark.parametrize("line", ["/etc/passwd.jpg", "../../b.jpg", "..\\b.jpg", "/", "..", "../a", "/a"])
def test_a_path_in_a_list_never_leads_out_of_the_folder(make_dataset, line):
    folder = make_dataset({"a": []}, {"train": [line]})
    with pytest.raises(DatasetError, match="leads out of the folder"):
        read_set(folder, "train")


def test_hidden_lists_are_ignored(make_dataset):
    folder = make_dataset({"a": []}, {"train": ["a"], "._train": ["x"], ".backup": ["x"]})
    assert image_sets(folder) == ("train",)
    assert check_dataset(folder).errors == 0


def test_a_set_in_another_spelling_is_suggested(make_dataset):
    folder = make_dataset({"a": []}, {"Train": ["a"], "Validation": ["a"]})
    with pytest.raises(DatasetError, match=r"Existing sets: Train, Validation\. Rename ImageSets/Main/Validation\.txt to val\.txt\."):
        read_set(folder, "val")
