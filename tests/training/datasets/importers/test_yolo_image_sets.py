"""The image sets of YOLO data sets: named in data.yaml, obj.data and list files, or by folders."""

import pytest

from tests.training.datasets.importers.yolo_layouts import BOX, NAMES, Layout, check_layout, images

TWO_IMAGES = images("images/a.jpg", "images/b.jpg") | {"labels/a.txt": BOX, "labels/b.txt": BOX, "classes.txt": "dog\ncat\n"}

LAYOUTS = [
    *(
        Layout(f"list files with {kind}", TWO_IMAGES | {"train.txt": train, "val.txt": val}, {"train": 1, "val": 1}, 2)
        for kind, train, val in (
            ("names", "a.jpg\n", "b.jpg\n"),
            ("names without suffixes", "a\n", "b\r\n"),
            ("quoted paths", '"images/a.jpg"\n', "'images/b.jpg'\n"),
        )
    ),
    *(
        Layout(
            f"lists of VOC in {folder}", TWO_IMAGES | {f"{folder}/train.txt": "a\n", f"{folder}/val.txt": "b\n"}, {"train": 1, "val": 1}, 2
        )
        for folder in ("ImageSets/Main", "ImageSets", "splits")
    ),
    Layout(
        "several list files of one set, as voc_label.py writes them",
        TWO_IMAGES | {"2007_train.txt": "/data/images/a.jpg\n", "2012_train.txt": "/data/images/b.jpg\n"},
        {"train": 2},
        2,
    ),
    Layout(
        "a list entry that is the name of two images is skipped",
        images("images/x/a.jpg", "images/y/a.jpg", "images/b.jpg")
        | {"labels/x/a.txt": BOX, "labels/b.txt": BOX, "classes.txt": "dog\n", "train.txt": "b.jpg\na.jpg\n"},
        {"train": 1},
        1,
        ("1 image in the list of train without a file", "2 images outside of the named sets"),
    ),
    Layout(
        "a path is not replaced by an image of the same name in another folder",
        images("val/a.jpg", "train/b.jpg")
        | {"val/a.txt": BOX, "train/b.txt": BOX, "classes.txt": "dog\n", "train.txt": "train/b.jpg\ntrain/a.jpg\n"},
        {"train": 1},
        1,
        ("1 image in the list of train without a file", "1 image outside of the named sets"),
    ),
    Layout(
        "text files that are named after a set but list no images",
        TWO_IMAGES | {"train.txt": "some notes\n" + "x" * 3000 + "\n", "docs/test.txt": "0 0.5\n"},
        {"default": 2},
        2,
    ),
    Layout(
        "a folder for evaluation",
        images("images/train/a.jpg", "images/eval/b.jpg") | {"labels/train/a.txt": BOX, "labels/eval/b.txt": BOX, "classes.txt": "dog\n"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "hundreds of list files in one set",
        images("images/a.jpg") | {"train.txt": "images/a.jpg\n", "data.yaml": f"train: [{', '.join(101 * ['train.txt'])}]\n{NAMES}"},
        error="names 101 folders or lists for train; at most 100 are read",
    ),
    Layout(
        "an enormous data.yaml",
        images("images/a.jpg") | {"data.yaml": f"names: [{'a, ' * 200_000}b]\n"},
        error="at most 524,288 are read",
    ),
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
    Layout(
        "a commented line in obj.data",
        images("obj/0.jpg", "obj/1.jpg")
        | {"obj/0.txt": BOX, "obj/1.txt": BOX, "obj.names": "dog\n", "train.txt": "obj/0.jpg\nobj/1.jpg\n", "old.txt": "obj/1.jpg\n"}
        | {"obj.data": "classes=1\ntrain=data/train.txt\n#valid=data/old.txt\n; test=old.txt\nnames=data/obj.names\n"},
        {"train": 2},
        2,
    ),
    Layout(
        "sets without a value in data.yaml",
        images("train/a.jpg") | {"train/a.txt": BOX, "data.yaml": f'train: None\nval: ""\ntest: NULL\n{NAMES}'},
        {"train": 1},
        1,
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
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_image_sets_of_a_yolo_layout_are_imported_or_refused_with_advice(tmp_path, save_image, layout):
    check_layout(tmp_path, save_image, layout)
