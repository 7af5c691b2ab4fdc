"""VOC-style data sets as public tools write them."""

import pytest

from training.data.voc_layout import image_names, image_sets
from training.data.voc_reader import read_annotation, read_set
from training.datasets.check import check_dataset
from training.errors import DatasetError


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
def test_the_error_for_a_folder_without_lists_suggests_data_split(tmp_path, annotated, save_image, image_set):
    save_image(tmp_path / "a.jpg", 1)
    (tmp_path / "a.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    with pytest.raises(DatasetError, match=f"Run `boxwright data split {tmp_path}` first"):
        read_set(tmp_path, image_set)


def test_the_error_for_a_data_set_with_only_a_train_list_suggests_splitting_that_list(make_dataset):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"train": ["a"]})
    with pytest.raises(DatasetError, match=f"Run `boxwright data split {folder} --set train --force` first"):
        read_set(folder, "val")
