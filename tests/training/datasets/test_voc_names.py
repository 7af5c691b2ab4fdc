"""VOC data sets with file names in another case, with folders of other tools, or with unreadable files."""

from xml.etree.ElementTree import tostring

import pytest

from tests.training.datasets.importers.yolo_layouts import BOX, NAMES, images, write_files
from training.data.voc_lists import image_sets
from training.data.voc_reader import parse_annotation, read_annotation, read_set
from training.data.voc_writer import set_text
from training.datasets.check import check_dataset
from training.datasets.importers.yolo import read_yolo
from training.datasets.repair import repair_dataset
from training.errors import DatasetError


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE annotation><annotation/>", "document types are refused"),
        ("<annotation><filename>\u72d7.jpg</filename></annotation>".encode("gbk"), r"invalid token.*Save it as UTF-8\."),
        (b'<?xml version="1.0" encoding="gbk"?><annotation>\xff\xff</annotation>', r"codec can't decode.*Save it as UTF-8\."),
        (b'<?xml version="1.0" encoding="unicode"?><annotation/>', r"unknown encoding: unicode\. Delete encoding"),
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


def test_the_error_for_a_folder_above_a_voc_data_set_names_the_data_set(make_dataset, tmp_path):
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


def test_the_suggestion_names_a_list_at_the_top(make_dataset):
    folder = make_dataset({"a": []})
    (folder / "Validation.txt").write_text("a\n")
    with pytest.raises(DatasetError, match=r"Rename Validation\.txt to val\.txt\."):
        read_set(folder, "val")
