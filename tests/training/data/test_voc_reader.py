"""VOC annotations and image sets: coordinates, flags and refused files."""

import numpy as np
import pytest
from PIL import Image

from training.data.voc_reader import read_annotation, read_sample, read_set
from training.errors import DatasetError

ANNOTATION = """<annotation><filename>{filename}</filename><object><name>dog</name><difficult>{difficult}</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""


@pytest.fixture
def dataset(tmp_path):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (30, 40)).save(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "Annotations" / "a.xml").write_text(ANNOTATION.format(filename="a.jpg", difficult=1))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n\n")
    return tmp_path


def test_one_based_inclusive_pixels_become_continuous_edges(dataset):
    (sample,) = read_set(dataset, "train")
    np.testing.assert_array_equal(sample.boxes, [[0, 1, 30, 40]])
    assert sample.labels == ("dog",)
    assert sample.difficult.tolist() == [True]
    assert sample.image_path == dataset / "JPEGImages" / "a.jpg"


def test_the_filename_may_name_the_image(dataset):
    (dataset / "Annotations" / "b.xml").write_text(ANNOTATION.format(filename="C:\\photos\\a.jpg", difficult=0))
    assert read_sample(dataset, "b").image_path.name == "a.jpg"


def test_an_annotation_without_objects_has_no_boxes(dataset):
    (dataset / "Annotations" / "a.xml").write_text("<annotation/>")
    sample = read_sample(dataset, "a")
    assert sample.boxes.shape == (0, 4)
    assert sample.labels == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "not readable as XML"),
        ("", "not readable as XML"),
        ("<html/>", "root element is <html>"),
        ('<!DOCTYPE a [<!ENTITY e "x">]><annotation>&e;</annotation>', "not readable as XML"),
        ('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation>&e;</annotation>', "not readable as XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "not readable as XML"),
        (ANNOTATION.replace("<xmin>1</xmin>", ""), "no <bndbox><xmin>"),
        (ANNOTATION.replace("<xmin>1<", "<xmin>nan<"), "<xmin> is 'nan'"),
        (ANNOTATION.replace("<xmin>1<", "<xmin>left<"), "<xmin> is 'left'"),
        (ANNOTATION.replace("<name>dog</name>", "<name> </name>"), "no <name>"),
    ],
)
def test_invalid_annotations_are_refused_with_file_and_element(dataset, text, message):
    (dataset / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_sample(dataset, "a")
    assert "a.xml" in str(caught.value)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "x/../../a", "..\\a"])
def test_names_that_lead_out_of_the_folder_are_refused(dataset, name):
    (dataset / "ImageSets" / "Main" / "train.txt").write_text(name)
    with pytest.raises(DatasetError, match="leads out of the folder"):
        read_set(dataset, "train")


def test_errors_name_a_missing_image_annotation_or_set(dataset):
    with pytest.raises(DatasetError, match=r"no image set 'val'.*Existing sets: train\. Run `boxwright data split"):
        read_set(dataset, "val")
    with pytest.raises(DatasetError, match="plain name"):
        read_set(dataset, "../train")
    with pytest.raises(DatasetError, match=r"b\.xml: the annotation is missing"):
        read_sample(dataset, "b")
    (dataset / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"a\.xml: its image is in none of"):
        read_sample(dataset, "a")
    with pytest.raises(DatasetError, match=r"a\.xml: its image is in none of .*\. `boxwright data check .*` lists every mistake"):
        read_set(dataset, "train")


def test_real_data_sets_are_read(shared):
    expected = {"everyday": ("val", 418), "raccoon": ("train", 130), "bccd": ("train", 205), "coco128": ("train", 128)}
    for name, (image_set, count) in expected.items():
        assert len(read_set(shared / "data" / name, image_set)) == count
    assert sum(len(sample.boxes) for sample in read_set(shared / "data" / "coco128", "train")) == 452


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("True", True), (" 0 ", False), ("false", False), ("", False)])
def test_every_spelling_of_the_difficult_flag_is_read(dataset, text, expected):
    (dataset / "Annotations" / "a.xml").write_text(ANNOTATION.format(filename="a.jpg", difficult=text))
    assert read_annotation(dataset, "a").difficult.tolist() == [expected]


@pytest.mark.parametrize(("flag", "difficult", "crowd"), [("0", True, True), ("1", True, True), (None, False, False)])
def test_a_crowd_is_always_difficult(dataset, flag, difficult, crowd):
    text = ANNOTATION.format(filename="a.jpg", difficult=flag or 0)
    (dataset / "Annotations" / "a.xml").write_text(text.replace("<bndbox>", "<crowd>1</crowd><bndbox>") if flag else text)
    annotation = read_annotation(dataset, "a")
    assert (annotation.difficult.tolist(), annotation.crowd.tolist()) == ([difficult], [crowd])


def test_other_values_of_the_difficult_flag_are_refused(dataset):
    (dataset / "Annotations" / "a.xml").write_text(ANNOTATION.format(filename="a.jpg", difficult="2"))
    with pytest.raises(DatasetError, match="<difficult> is '2'; expected 0 or 1"):
        read_annotation(dataset, "a")


@pytest.mark.parametrize("number", ["1_0", "\u0661\u0660", "nan", "1e9"])
def test_number_notations_of_python_are_refused(dataset, number):
    annotation = ANNOTATION.format(filename="a.jpg", difficult=0)
    before, _, after = annotation.partition("<xmin>")
    (dataset / "Annotations" / "a.xml").write_text(f"{before}<xmin>{number}{after[after.index('</xmin>') :]}", encoding="utf-8")
    with pytest.raises(DatasetError, match="expected a number of pixels"):
        read_annotation(dataset, "a")
