"""`boxwright evaluate` on the two photos of the README, with the model that ships."""

import json
import shutil
from pathlib import Path

import pytest

PHOTOS = Path(__file__).resolve().parents[2] / "docs" / "photos"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
ANNOTATION = f"<annotation><object><name>{{}}</name>{BOX}</object></annotation>"


@pytest.fixture
def dataset(tmp_path):
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name, box in (("cat", ("cat", 1, 1, 438, 257)), ("astronaut", ("person", 1, 47, 391, 512))):
        shutil.copy(PHOTOS / f"{name}.jpg", tmp_path / "data" / "JPEGImages")
        (tmp_path / "data" / "Annotations" / f"{name}.xml").write_text(ANNOTATION.format(*box))
    (tmp_path / "data" / "ImageSets" / "Main" / "val.txt").write_text("cat\nastronaut\n")
    return tmp_path / "data"


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorflow"])
def test_json_has_every_measure_whatever_computes_the_network(boxwright, dataset, engine):
    ended = boxwright("evaluate", dataset, "--json", "--engine", engine)
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert (facts["model"], facts["engine"], facts["photos"]) == ("everyday", engine, 2)
    assert facts["ap50"] == facts["ap50_11_point"] == 1
    assert set(facts["classes"]) == {"cat", "person"}
    assert facts["classes"]["cat"]["curve"]["recall"][0] == 1
    assert facts["coco"]["ap50"] == pytest.approx(1)
    assert facts["coco"]["small"] is None
    there_by_found = facts["confusion"]["there_by_found"]
    assert sum(map(sum, there_by_found[:-1])) == 2
    assert facts["photos_per_second"] > 0


def test_the_table_and_the_plots(boxwright, dataset, tmp_path):
    ended = boxwright("evaluate", dataset, "--plots", tmp_path / "plots")
    assert ended.code == 0, ended.err
    assert "person" in ended.out
    assert "COCO: AP" in ended.out
    for name in ("precision_recall.png", "confusion.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_boxes_of_labels_that_the_model_does_not_know_are_told_of(boxwright, dataset):
    (dataset / "Annotations" / "cat.xml").write_text(ANNOTATION.format("zebra", 1, 1, 438, 257))
    ended = boxwright("evaluate", dataset)
    assert "1 boxes of labels that the model does not know were left out" in ended.out


def test_a_missing_set_is_named(boxwright, dataset):
    ended = boxwright("evaluate", dataset, "--set", "test")
    assert ended.code == 2
    assert "there is no image set 'test'" in ended.err


def test_a_set_of_which_every_box_is_difficult_is_refused(boxwright, dataset):
    for name in ("cat", "astronaut"):
        path = dataset / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace("</name>", "</name><difficult>1</difficult>"))
    ended = boxwright("evaluate", dataset, "--json")
    assert ended.code == 2
    assert "there is nothing to evaluate: no box that is not difficult has a label of the model" in ended.err
