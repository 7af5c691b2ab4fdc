"""Import of YOLO label files: conversion to a thousandth of a pixel, and refused files."""

import os

import numpy as np
import pytest
from PIL import Image

from detector.boxes.geometry import box_xyxy_to_cxcywh
from training.data.voc_lists import image_sets
from training.data.voc_reader import read_annotation, read_set
from training.datasets.importers.base import ImportSummary, write_imported
from training.datasets.importers.yolo import read_yolo
from training.errors import DatasetError

YAML = "path: ../datasets/x\nnames:\n  0: dog\n  1: traffic light\n"


@pytest.fixture
def yolo(tmp_path, save_image):
    """(images and their label files by path, class file, its text) -> a folder; images are 60 x 40 pixels."""

    def make(files, classes="data.yaml", text=YAML):
        root = tmp_path / "yolo"
        for seed, (image, labels) in enumerate(files.items()):
            save_image(root / image, seed)
            if labels is not None:
                path = root / f"{image.replace('images', 'labels').rpartition('.')[0]}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(labels)
        (root / classes).parent.mkdir(parents=True, exist_ok=True)
        (root / classes).write_text(text)
        return root

    return make


def imported(root):
    return write_imported(read_yolo(root, image_set="train"), root.parent / "made")


def test_real_samples_survive_conversion_to_a_thousandth(shared, tmp_path):
    folder = shared / "data" / "bccd"
    samples = read_set(folder, "val")
    names = ["Platelets", "RBC", "WBC"]
    (tmp_path / "yolo" / "images").mkdir(parents=True)
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "classes.txt").write_text("\n".join(names))
    for sample in samples:
        width, height = read_annotation(folder, sample.name).size
        (tmp_path / "yolo" / "images" / sample.image_path.name).write_bytes(sample.image_path.read_bytes())
        fractions = box_xyxy_to_cxcywh(sample.boxes.astype(np.float64)) / [width, height, width, height]
        rows = [
            f"{names.index(label)} {' '.join(f'{part:.8f}' for part in row)}\n" for label, row in zip(sample.labels, fractions, strict=True)
        ]
        (tmp_path / "yolo" / "labels" / f"{sample.name}.txt").write_text("".join(rows))
    assert imported(tmp_path / "yolo") == ImportSummary({"train": 87}, 1138, tuple(names))
    for ours, theirs in zip(read_set(tmp_path / "made", "train"), samples, strict=True):
        assert (ours.name, ours.labels) == (theirs.name, theirs.labels)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3, rtol=0)
        assert ours.image_path.read_bytes() == theirs.image_path.read_bytes()


def test_sets_come_from_folders_and_unlabelled_images_have_no_boxes(yolo):
    root = yolo({"images/train/a.jpg": "0 0.5 0.5 0.5 0.5\n\n1 0.25 0.25 0.5 0.5\n", "images/val/a.png": None, "images/b.jpg": ""})
    assert imported(root) == ImportSummary({"train": 2, "val": 1}, 2, ("dog", "traffic light"))
    made = root.parent / "made"
    assert image_sets(made) == ("train", "val")
    b, a = read_set(made, "train")
    assert (b.name, b.labels) == ("b", ())
    assert (a.name, a.labels) == ("train/a", ("dog", "traffic light"))
    np.testing.assert_array_equal(a.boxes, [[15, 10, 45, 30], [0, 0, 30, 20]])
    assert [sample.name for sample in read_set(made, "val")] == ["val/a"]


def test_sets_may_be_the_outer_folders(yolo):
    root = yolo({"train/images/a.jpg": "0 0.5 0.5 1 1\n", "valid/images/a.jpg": "1 0.5 0.5 1 1\n"})
    assert imported(root).images_by_set == {"train": 1, "val": 1}
    (sample,) = read_set(root.parent / "made", "val")
    assert (sample.name, sample.labels) == ("valid/a", ("traffic light",))


@pytest.mark.parametrize("classes", ["classes.txt", "obj.names"])
def test_label_files_may_be_next_to_images(yolo, classes):
    root = yolo({"a.jpg": "1 0.5 0.5 1 1\n"}, classes, "no\nyes\n")
    imported(root)
    assert read_set(root.parent / "made", "train")[0].labels == ("yes",)


@pytest.mark.parametrize("names", ["[no, 7]", "['no', '7']", "{0: no, 1: 7}", "{'0': no, '1': 7}", "\n  - no\n  - 7"])
def test_class_names_in_yaml_are_read_as_strings(yolo, names):
    root = yolo({"images/a.jpg": "0 0.5 0.5 1 1\n1 0.5 0.5 1 1\n"}, text=f"nc: 2\nnames: {names}\n")
    imported(root)
    assert read_set(root.parent / "made", "train")[0].labels == ("no", "7")


def test_a_polygon_becomes_its_bounding_box(yolo):
    root = yolo({"images/a.jpg": "0 0.1 0.2 0.5 0.1 0.3 0.75\n"})
    imported(root)
    np.testing.assert_allclose(read_set(root.parent / "made", "train")[0].boxes, [[6, 4, 30, 30]], atol=1e-3)


def test_coordinates_are_fractions_of_the_upright_image(yolo, save_image):
    root = yolo({"images/a.jpg": "0 0.25 0.5 0.5 1\n"})
    exif = Image.Exif()
    exif[0x0112] = 6
    save_image(root / "images" / "a.jpg", 1, (60, 40), exif=exif)
    imported(root)
    assert read_annotation(root.parent / "made", "a").size is None  # so that `data check` warns of the orientation
    np.testing.assert_array_equal(read_set(root.parent / "made", "train")[0].boxes, [[0, 0, 20, 60]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("0 0.5 0.5 1", r"a\.txt: line 1 has 4 numbers"),
        ("0 0.5 0.5 1 1 0.9", "line 1 has 6 numbers"),
        ("0", "line 1 has 1 number;"),
        ("0 0.5 0.5 1 1\n\ndog 0.5 0.5 1 1", "line 3 is 'dog 0.5"),
        ("0 0.5 0.5 1.5 1", "fractions of the image from 0 to 1"),
        ("0 30 20 10 10", "fractions of the image from 0 to 1"),
        ("0 nan 0.5 1 1", "fractions of the image from 0 to 1"),
        ("0.5 0.5 0.5 1 1", "a whole number"),
        ("nan 0.5 0.5 1 1", "a whole number"),
        ("inf 0.5 0.5 1 1", "a whole number"),
        ("2 0.5 0.5 1 1", r"has class 2, but data\.yaml names only 0: dog, 1: traffic light"),
        ("-1 0.5 0.5 1 1", "has class -1"),
        ("0 0.5 0.5 1 ä", "is not UTF-8"),
    ],
)
def test_invalid_lines_are_quoted(yolo, labels, message):
    root = yolo({"images/a.jpg": ""})
    (root / "labels" / "a.txt").write_bytes(labels.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        imported(root)
    assert not (root.parent / "made").exists()


@pytest.mark.parametrize(
    "text",
    [
        "names: 3",
        "names: [[a], b]",
        "names: {a: b}",
        "[a, b]",
        "",
        "names: [",
        "names: &a [*a]",
        "[" * 3000,
        "names: []",
        "a: !!python/name:os.system",
    ],
)
def test_yaml_without_names_is_refused(yolo, text):
    with pytest.raises(DatasetError, match=r"data\.yaml"):
        imported(yolo({"images/a.jpg": "0 0.5 0.5 1 1\n"}, text=text))


def test_yaml_path_of_nested_aliases_is_ignored(yolo):
    """Each level makes its text ten times as long: with nine levels, a file of 500 bytes would fill the memory."""
    levels = [f"a{level}: &a{level} [{', '.join(['*a' + str(level - 1)] * 10)}]\n" for level in range(1, 6)]
    text = f"names: [dog]\na0: &a0 [x, x]\n{''.join(levels)}path: *a5\ntrain: images\n"
    assert imported(yolo({"images/a.jpg": "0 0.5 0.5 1 1\n"}, text=text)).boxes == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["labels/a.txt", "labels/unused.txt", "classes.txt", "x.data", "train.txt"])
@pytest.mark.parametrize("target", [None, "/dev/zero", "/etc/passwd"])
def test_text_files_that_are_pipes_devices_or_outside_links_are_refused(yolo, name, target):
    """Reading a pipe or a device may never end, and an error would quote the lines of a file elsewhere."""
    root = yolo({"images/a.jpg": "0 0.5 0.5 1 1\n"})
    path = root / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if target:
        path.symlink_to(target)
    else:
        os.mkfifo(path)
    with pytest.raises(DatasetError, match=r"not a regular file|link that leads out"):
        imported(root)


@pytest.mark.parametrize("path", ["a/" * 2000 + "a", "b\\" * 70 + "a.jpg", "c" * 2000])
@pytest.mark.parametrize("name", ["data.yaml", "train.txt"])
def test_paths_with_too_many_parts_or_characters_are_refused(yolo, name, path):
    """Every ending of a path is tried, so the time would be quadratic."""
    root = yolo({"images/a.jpg": "0 0.5 0.5 1 1\n"})
    (root / name).write_text(YAML + f"train: '{path}'\n" if name == "data.yaml" else f"images/a.jpg\n{path}\n")
    with pytest.raises(DatasetError, match=r"the path .* at most 1,024 and 64 are allowed"):
        imported(root)


def test_missing_class_names_and_outside_links_are_refused(yolo, tmp_path, save_image):
    root = yolo({"images/a.jpg": ""}, "notes.txt")
    with pytest.raises(DatasetError, match="class names are missing"):
        imported(root)
    (root / "data.yaml").write_text(YAML)
    (root / "images" / "b.jpg").symlink_to(save_image(tmp_path / "outside.jpg", 9))
    with pytest.raises(DatasetError, match="link that leads out"):
        imported(root)
    for image in root.rglob("*.jpg"):
        image.unlink()
    with pytest.raises(DatasetError, match="there is no image"):
        imported(root)
