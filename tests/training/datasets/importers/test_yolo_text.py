"""Class names and label lines of YOLO data sets."""

import numpy as np
import pytest

from tests.training.datasets.importers.yolo_layouts import BOX, NAMES, Layout, check_layout, images, write_files
from training.datasets.importers.yolo import read_yolo
from training.errors import DatasetError

LAYOUTS = [
    Layout("classes.txt of LabelImg among the labels", images("a.jpg") | {"a.txt": BOX, "sub/classes.txt": "dog\n"}, {"default": 1}, 1),
    Layout("Roboflow's _darknet.labels", images("train/a.jpg") | {"train/a.txt": BOX, "train/_darknet.labels": "dog\n"}, {"train": 1}, 1),
    Layout("another name of the YAML file", images("images/a.jpg") | {"labels/a.txt": BOX, "coco8.yaml": NAMES}, {"default": 1}, 1),
    Layout("no class names", images("images/a.jpg") | {"labels/a.txt": BOX}, error="the class names are missing"),
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
    Layout(
        "DOTA's labels in labelTxt",
        images("train/images/a.jpg")
        | {"train/labelTxt/a.txt": "imagesource:x\ngsd:0.1\n10.0 10.0 30.0 10.0 30.0 30.0 10.0 30.0 dog 0\n", "data.yaml": NAMES},
        error="expected numbers: class x y width height",
    ),
    Layout(
        "folders with different class files",
        images("x/a.jpg", "y/b.jpg") | {"x/a.txt": BOX, "y/b.txt": BOX, "x/classes.txt": "dog\n", "y/classes.txt": "cat\n"},
        error="class 0 is 'dog' in x/classes.txt, but 'cat' in y/classes.txt",
    ),
    Layout(
        "two usual class files that contradict each other",
        images("images/a.jpg") | {"labels/a.txt": BOX, "classes.txt": "dog\n", "obj.names": "cat\n"},
        error="class 0 is 'dog' in classes.txt, but 'cat' in obj.names",
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
        "two classes with one name",
        images("images/a.jpg") | {"labels/a.txt": BOX + "1 0.5 0.5 0.2 0.2\n", "data.yaml": "names: [dog, dog, cat]\n"},
        {"default": 1},
        2,
        ("Classes 0, 1 have the same name, 'dog': joined.",),
    ),
    *(
        Layout(
            f"a Windows path in double quotes, {path}",
            images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": f'train: "{path}"\n{NAMES}'},
            error="Write / instead of \\ in paths",
        )
        for path in ("C:\\Users\\me\\images", "D:\\data\\images", "D:\\ds\\xyz\\images", "D:\\ds\\unit\\images")
    ),
    Layout(
        "Roboflow's list of boxes in pixels",
        images("train/a.jpg") | {"train/_annotations.txt": "a.jpg 10,10,30,30,0\n", "train/_classes.txt": "dog\n"},
        error="_annotations.txt is a list of boxes in pixels, which cannot be imported. Export the data set as YOLOv8",
    ),
    Layout(
        "an empty file of class names",
        images("a.jpg") | {"a.txt": BOX, "classes.txt": "\n"},
        error="classes.txt: the file is empty. It must have the name of one class per line",
    ),
    Layout(
        "a class file with a name that only obj.data knows",
        images("obj/a.jpg") | {"obj/a.txt": BOX, "obj.data": "names = data/my_labels.txt\n", "my_labels.txt": "dog\n"},
        {"default": 1},
        1,
    ),
    Layout(
        "keypoints in two dimensions",
        images("images/a.jpg") | {"labels/a.txt": "0 0.5 0.5 0.2 0.2 0.1 0.45 0.9 0.55\n", "data.yaml": f"kpt_shape: [2, 2]\n{NAMES}"},
        {"default": 1},
        1,
        ("1 box imported without its keypoints",),
    ),
    Layout(
        "keypoints with visibility",
        images("images/a.jpg") | {"labels/a.txt": "0 0.5 0.5 0.2 0.2 0.45 0.45 2\n", "data.yaml": f"kpt_shape: [1, 3]\n{NAMES}"},
        {"default": 1},
        1,
        ("1 box imported without its keypoints",),
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_yolo_classes_and_label_lines_are_imported_or_refused_with_advice(tmp_path, save_image, layout):
    check_layout(tmp_path, save_image, layout)


def test_a_box_of_keypoints_keeps_its_own_sides(tmp_path, save_image):
    files = {"labels/a.txt": "0 0.5 0.5 0.2 0.2 0.1 0.45 0.9 0.55\n", "data.yaml": f"kpt_shape: [2, 2]\n{NAMES}"}
    write_files(tmp_path, images("images/a.jpg") | files, save_image)
    np.testing.assert_allclose(read_yolo(tmp_path, image_set="train").images[0].boxes, [[24, 16, 36, 24]], atol=1e-4)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_text_files_with_a_byte_order_mark_are_read(tmp_path, save_image, encoding):
    texts = {"labels/a.txt": BOX, "train.txt": "images/a.jpg\n", "data.yaml": f"train: train.txt\n{NAMES}"}
    write_files(tmp_path, images("images/a.jpg", "images/b.jpg") | texts, save_image)
    for path, text in texts.items():
        (tmp_path / path).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert [image.labels for image in read_yolo(tmp_path, image_set="train").images] == [("dog",)]


@pytest.mark.parametrize("content", [b"\xff\xfe0", b"0 0.5 0.5 0.5 0.5 \xe9\n"])
def test_text_in_no_known_encoding_gets_advice(tmp_path, save_image, content):
    write_files(tmp_path, images("images/a.jpg") | {"labels/a.txt": "", "data.yaml": NAMES}, save_image)
    (tmp_path / "labels/a.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=r"is not UTF-8 text .* Save it as UTF-8"):
        read_yolo(tmp_path, image_set="train")
