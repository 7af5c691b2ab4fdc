"""Calibration images: training images only."""

import shutil
from pathlib import Path

import pytest

from training.data.calibration_images import calibration_images
from training.errors import DatasetError

IMAGE = Path(__file__).resolve().parents[3] / "docs" / "photos" / "cat.jpg"
ANNOTATION = "<annotation><filename>{}</filename></annotation>"


def make(folder, images, annotations=(), **lists):
    """Create empty image files, annotations with the file name of an image, and image sets."""
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, filename in dict(annotations).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ANNOTATION.format(filename))
    for image_set, names in lists.items():
        (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / "Main" / f"{image_set}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder


def chosen(folder, count=100, **options):
    return [path.relative_to(folder).as_posix() for path in calibration_images(folder, count, **options)]


LAYOUTS = {
    "VOC with lists": (["JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg"], {}, {"train": "a", "val": "b"}, ["JPEGImages/a.jpg"]),
    "VOC without a training list": (["JPEGImages/a.jpg", "JPEGImages/b.jpg"], {}, {"val": "b"}, ["JPEGImages/a.jpg"]),
    "test list": (["JPEGImages/a.jpg", "JPEGImages/b.jpg"], {}, {"test": "b"}, ["JPEGImages/a.jpg"]),
    "an image in both lists": (["JPEGImages/a.jpg", "JPEGImages/b.jpg"], {}, {"train": "ab", "val": "b"}, ["JPEGImages/a.jpg"]),
    "images folder": (["images/a.png", "images/b.png"], {}, {"train": "a", "val": "b"}, ["images/a.png"]),
    "images next to annotations": (["a.JPG", "b.JPG"], {"a.xml": "a.JPG", "b.xml": "b.JPG"}, {"val": "b"}, ["a.JPG"]),
    "file name only in the annotation": (
        ["JPEGImages/IMG_1.jpg", "JPEGImages/IMG_2.jpg"],
        {"Annotations/a.xml": "IMG_1.jpg", "Annotations/b.xml": "IMG_2.jpg"},
        {"val": ["b"]},
        ["JPEGImages/IMG_1.jpg"],
    ),
    "names with endings": (["JPEGImages/a.jpg", "JPEGImages/b.jpg"], {"Annotations/b.xml": ""}, {"val": ["b.jpg"]}, ["JPEGImages/a.jpg"]),
    "names with folders": (["JPEGImages/x/a.jpg", "JPEGImages/x/b.jpg"], {}, {"val": ["x/b"]}, ["JPEGImages/x/a.jpg"]),
    "two images of one name": (["JPEGImages/x/a.jpg", "JPEGImages/y/a.jpg"], {}, {"val": ["y/a"]}, ["JPEGImages/x/a.jpg"]),
    "YOLO folders": (["images/train2017/a.jpg", "images/val2017/b.jpg", "images/Testing/c.jpg"], {}, {}, ["images/train2017/a.jpg"]),
    "only images": (["a.jpg", "b.webp"], {}, {}, ["a.jpg", "b.webp"]),
    "images in subfolders": (["day/a.jpg", "day/a.boxes.jpg", "night/b.jpg", "c.jpg"], {}, {}, ["c.jpg", "day/a.jpg", "night/b.jpg"]),
    "Roboflow": (["train/a.jpg", "valid/b.jpg"], {"train/a.xml": "a.jpg", "valid/b.xml": "b.jpg"}, {}, ["train/a.jpg"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_training_images_are_chosen(tmp_path, layout):
    images, annotations, lists, expected = LAYOUTS[layout]
    assert chosen(make(tmp_path, images, annotations, **lists)) == expected


def test_the_evaluated_set_is_excluded_even_if_it_is_called_train(tmp_path):
    make(tmp_path, ["JPEGImages/a.jpg", "JPEGImages/b.jpg"], train="a")
    assert chosen(tmp_path, val_set="train") == ["JPEGImages/b.jpg"]


def test_images_are_spread_evenly(tmp_path):
    make(tmp_path, [f"{number}.jpg" for number in range(10)])
    assert chosen(tmp_path, 3) == ["0.jpg", "3.jpg", "6.jpg"]


def test_a_folder_without_training_images_is_refused(tmp_path):
    make(tmp_path, ["JPEGImages/a.jpg"], val="a")
    with pytest.raises(DatasetError, match="there are no training images for calibration"):
        calibration_images(tmp_path, 5)
    shutil.rmtree(tmp_path / "JPEGImages")
    with pytest.raises(DatasetError, match="there are no training images for calibration"):
        calibration_images(tmp_path, 5)
