"""Rotated boxes in CVAT's VOC export."""

import numpy as np
import pytest

from training.data.rotated_boxes import rectangle_around
from training.data.voc_reader import read_annotation, read_sample
from training.datasets.check import check_dataset
from training.datasets.repair import repair_dataset

BOX = "<name>dog</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>31</xmax><ymax>25</ymax></bndbox>"
ATTRIBUTES = (
    "<attributes><attribute><name>occluded</name><value>False</value></attribute>"
    "<attribute><name>rotation</name><value>{}</value></attribute></attributes>"
)


@pytest.fixture
def rotate(make_dataset):
    """(degrees as text) -> a data set with one box, xmin 11, ymin 21, xmax 31, ymax 25, that is rotated."""

    def make(degrees):
        folder = make_dataset({"a": []})
        xml = folder / "Annotations" / "a.xml"
        xml.write_text(xml.read_text().replace("</annotation>", f"<object>{BOX}{ATTRIBUTES.format(degrees)}</object></annotation>"))
        return folder

    return make


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (0, (0, 0, 4, 2)),
        (180, (0, 0, 4, 2)),
        (-360, (0, 0, 4, 2)),
        (90, (1, -1, 3, 3)),
        (270, (1, -1, 3, 3)),
        (45, (2 - 4.5**0.5, 1 - 4.5**0.5, 2 + 4.5**0.5, 1 + 4.5**0.5)),
        (-45, (2 - 4.5**0.5, 1 - 4.5**0.5, 2 + 4.5**0.5, 1 + 4.5**0.5)),
    ],
)
def test_the_rectangle_around_a_rotated_box_touches_its_corners(degrees, expected):
    assert rectangle_around((0, 0, 4, 2), degrees) == pytest.approx(expected)


def test_a_rotated_box_is_read_as_the_rectangle_around_it_and_counted(rotate):
    folder = rotate("90.0")
    np.testing.assert_allclose(read_annotation(folder, "a").boxes, [[18, 12, 23, 33]])
    assert read_sample(folder, "a").rotated == 1


@pytest.mark.parametrize("degrees", ["0.0", "180", "", "nan", "left"])
def test_a_box_without_an_effective_rotation_stays(rotate, degrees):
    folder = rotate(degrees)
    np.testing.assert_allclose(read_annotation(folder, "a").boxes, [[10, 20, 31, 25]])
    assert not check_dataset(folder).findings


def test_the_check_reports_a_rotated_box(rotate):
    found = check_dataset(rotate("30"))
    assert [(each.kind, each.severity, each.count) for each in found.findings] == [("rotated", "warning", 1)]


def test_a_repaired_copy_has_the_rectangle_and_no_rotation(rotate, tmp_path):
    folder = rotate("90")
    repair_dataset(check_dataset(folder), tmp_path / "fixed")
    np.testing.assert_allclose(read_annotation(tmp_path / "fixed", "a").boxes, [[18, 12, 23, 33]])
    assert not check_dataset(tmp_path / "fixed").findings
    assert "occluded" in (tmp_path / "fixed" / "Annotations" / "a.xml").read_text()


def test_a_rotated_box_at_the_border_is_clipped_and_not_called_zero_based(rotate):
    folder = rotate("90")
    xml = folder / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("<ymin>21<", "<ymin>10<").replace("<ymax>25<", "<ymax>12<"))
    assert {each.kind for each in check_dataset(folder).findings} == {"rotated"}
    xml.write_text(xml.read_text().replace("<ymin>10<", "<ymin>9.5<").replace("<ymax>12<", "<ymax>11.5<"))
    assert {each.kind for each in check_dataset(folder).findings} == {"rotated", "outside"}
