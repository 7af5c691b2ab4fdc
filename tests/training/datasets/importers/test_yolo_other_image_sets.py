"""Image sets of YOLO data sets that other programs name: patterns, unusual keys, lists and folders."""

import pytest

from tests.training.datasets.importers.yolo_layouts import BOX, NAMES, Layout, check_layout, images, write_files
from training.datasets.importers.yolo import read_yolo

TWO_IMAGES = images("images/a.jpg", "images/b.jpg") | {"labels/a.txt": BOX, "labels/b.txt": BOX, "classes.txt": "dog\ncat\n"}

FOLDS = {"fold_1/train.txt": "images/a.jpg\n", "fold_1/val.txt": "images/b.jpg\n"}
OTHER_FOLDS = {"fold_2/train.txt": "images/b.jpg\n", "fold_2/val.txt": "images/a.jpg\n"}

LAYOUTS = [
    Layout(
        "folds of cross-validation", TWO_IMAGES | FOLDS | OTHER_FOLDS, error="fold_1/train.txt and fold_2/train.txt, and put images into"
    ),
    Layout(
        "one fold in data.yaml",
        TWO_IMAGES | FOLDS | OTHER_FOLDS | {"data.yaml": f"train: fold_2/train.txt\nval: fold_2/val.txt\n{NAMES}"},
        {"train": 1, "val": 1},
        2,
    ),
    Layout(
        "lists of several recordings",
        TWO_IMAGES | {"day1/train.txt": "images/a.jpg\n", "day2/train.txt": "images/b.jpg\n"},
        {"train": 2},
        2,
    ),
    Layout(
        "data.yaml in a folder without images",
        TWO_IMAGES | {"data/pets.yaml": f"train: ../images/a.jpg\nval: ../images/b.jpg\n{NAMES}", "classes.txt": "dog\ncat\nowl\n"},
        {"default": 2},
        2,
    ),
    *(
        Layout(
            f"an image in the folder {name} next to train",
            images("train/images/a.jpg", f"{name}/images/b.jpg")
            | {"train/labels/a.txt": BOX, f"{name}/labels/b.txt": BOX, "classes.txt": "dog"},
            sets,
            2,
            notes,
        )
        for name, sets, notes in (
            ("validate", {"train": 1, "val": 1}, ()),
            *(
                (
                    name,
                    {"train": 1, "default": 1},
                    (f"1 image in folders that name no image set, such as {name}/images/b.jpg: imported into",),
                )
                for name in ("vaild", "dev")
            ),
        )
    ),
    *(
        Layout(f"sets in data.yaml as {kind}", TWO_IMAGES | {"data.yaml": f"{text}{NAMES}"}, {"train": 1, "val": 1}, 2)
        for kind, text in (
            ("patterns of images", "train: images/[a]*.jpg\nval: '**/b.*'\n"),
            ("patterns of folders", "train: ima*/a.jpg\nval: /data/?mages/b.jpg\n"),
            ("patterns with two stars", "train: images/**/a.jpg\nval: images/**b.jpg\n"),
            ("keys with a suffix", "train_images: images/a.jpg\nVal_Images: images/b.jpg\n"),
        )
    ),
    Layout(
        "one of several folders that does not exist",
        TWO_IMAGES | {"data.yaml": f"train: [images, day2]\n{NAMES}"},
        error="name train: day2, but no image was found there",
    ),
    Layout(
        "one of several test folders that does not exist",
        TWO_IMAGES | {"data.yaml": f"train: images/a.jpg\ntest: [images/b.jpg, day2]\n{NAMES}"},
        {"train": 1, "test": 1},
        2,
        ("The test set (day2) does not exist and is skipped.",),
    ),
    Layout(
        "an empty list and another one",
        TWO_IMAGES | {"t1.txt": "", "t2.txt": "images/a.jpg\nimages/b.jpg\n", "data.yaml": f"train: [t1.txt, t2.txt]\n{NAMES}"},
        {"train": 2},
        2,
    ),
    Layout("options of other programs", TWO_IMAGES | {"data.yaml": f"train: images\nval_set: val\ntest_size: 3\n{NAMES}"}, {"train": 2}, 2),
    Layout(
        "a pattern that matches nothing",
        TWO_IMAGES | {"data.yaml": f"train: images/c*.jpg\n{NAMES}"},
        error="name train: images/c*.jpg, but no image was found there",
    ),
    *(
        Layout(f"a set in data.yaml that is {kind}", TWO_IMAGES | {"data.yaml": f"train: {value}\n{NAMES}"}, error=message)
        for kind, value, message in (
            ("a mapping", "{img_dir: images}", "'train' must be a folder, a list file, or a list of them"),
            ("a nested list", "[[images/a.jpg]]", "'train' must be a folder, a list file, or a list of them"),
            ("a pattern with many wildcards for folders", "images/" + 50 * "**/" + "c.jpg", "no image was found there"),
            ("a path with a NUL", '"a\\0.txt"', "no image was found there"),
        )
    ),
    *(
        Layout(
            f"a list of images named {name}",
            TWO_IMAGES | {name: "images/a.jpg\n", "data.yaml": f"train: {name}\n{NAMES}"},
            {"train": 1},
            1,
            ("1 image outside of the named sets",),
        )
        for name in ("train.list", "train.lst", "train.csv", "trainlist")
    ),
    *(
        Layout(
            f"obj.data with {kind}",
            images("obj/0.jpg", "obj/1.jpg")
            | {"obj/0.txt": BOX, "obj/1.txt": BOX, "coco.names": "dog\n", "train.txt": "obj/0.jpg\n", "valid.txt": "obj/1.jpg\n"}
            | {"coco.data": "train = data/train.txt\nvalid = data/valid.txt\nnames = data/coco.names\n" + line, "hard.txt": "obj/0.jpg\n"},
            {"train": 1, "val": 1},
            2,
        )
        for kind, line in (
            ("eval=coco", "eval=coco\n"),
            ("options in capitals", "EVAL=coco\nTOP=5\n"),
            ("another word for the validation set", "Validation = data/valid.txt\n"),
            ("a list of difficult images", "difficult_valid = hard.txt\n"),
            ("a second list, which Darknet ignores", "valid = hard.txt\n"),
        )
    ),
    *(
        Layout(
            f"a folder of a set that was renamed, {train} and {val}",
            images("images/train/a.jpg", "images/val/b.jpg")
            | {"labels/train/a.txt": BOX, "labels/val/b.txt": BOX, "data.yaml": f"train: {train}\nval: {val}\n{NAMES}"},
            error="but no image was found there",
        )
        for train, val in (
            ("../train/images", "../valid/images"),
            ("images/train", "../test/images"),
            ("images/train", "/content/pets/valid/images/*.jpg"),
            ("images/train", "valid/images/jpg"),
        )
    ),
    *(
        Layout(
            f"a folder below one that is no set, {train}",
            images("images/a.jpg", "other/images/b.jpg")
            | {"labels/a.txt": BOX, "other/labels/b.txt": BOX, "data.yaml": f"train: {train}\nval: other/images\n{NAMES}"},
            {"train": 1, "val": 1},
            2,
        )
        for train in ("/home/test/pets/images", "../pets/images", "../source/images")
    ),
    Layout(
        "obj.data and class names in different folders",
        images("data/obj/0.jpg", "data/obj/1.jpg")
        | {"data/obj/0.txt": BOX, "data/obj/1.txt": BOX, "data/voc.names": "dog\n", "data/train.txt": "data/obj/0.jpg\n"}
        | {"data/test.txt": "data/obj/1.jpg\n"}
        | {"cfg/voc.data": "classes=1\ntrain = data/train.txt\nvalid = data/test.txt\nnames = data/voc.names\n"},
        {"train": 1, "val": 1},
        2,
    ),
    *(
        Layout(
            f"folders {train} and {val}",
            images(f"{train}/a.jpg", f"{val}/b.jpg") | {f"{train}/a.txt": BOX, f"{val}/b.txt": BOX, "classes.txt": "dog\n"},
            {"train": 1, "val": 1},
            2,
        )
        for train, val in (("trainset", "valset"), ("TrainImages", "ValImages"), ("traindata", "evaldata"), ("train_imgs", "valSplit"))
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_image_sets_of_other_programs_are_imported_or_refused_with_advice(tmp_path, save_image, layout):
    check_layout(tmp_path, save_image, layout)


def test_the_folder_of_the_data_set_may_have_the_name_of_a_set(tmp_path, save_image):
    files = images("images/a.jpg") | {"labels/a.txt": BOX, "data.yaml": f"train: ../train/images\n{NAMES}"}
    write_files(tmp_path / "train", files, save_image)
    assert [image.image_sets for image in read_yolo(tmp_path / "train", image_set="val").images] == [("train",)]
