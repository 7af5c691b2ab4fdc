"""`boxwright evaluate` on two images of the documentation, with the default model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from weights.embedded import EVERYDAY
from weights.formats.provenance import confidence_text
from weights.formats.safetensors import load_model, save_model

SAMPLES = Path(__file__).resolve().parents[3] / "docs" / "photos"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
ANNOTATION = f"<annotation><object><name>{{}}</name>{BOX}</object></annotation>"


@pytest.fixture
def dataset(tmp_path):
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name, box in (("cat", ("cat", 1, 1, 438, 257)), ("astronaut", ("person", 1, 47, 391, 512))):
        shutil.copy(SAMPLES / f"{name}.jpg", tmp_path / "data" / "JPEGImages")
        (tmp_path / "data" / "Annotations" / f"{name}.xml").write_text(ANNOTATION.format(*box))
    (tmp_path / "data" / "ImageSets" / "Main" / "val.txt").write_text("cat\nastronaut\n")
    return tmp_path / "data"


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorflow"])
def test_json_has_every_measure_with_every_engine(boxwright, dataset, engine):
    result = boxwright("evaluate", dataset, "--json", "--engine", engine)
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert (facts["model"], facts["engine"], facts["photos"]) == ("everyday", engine, 2)
    assert facts["ap50"] == facts["ap50_11_point"] == 1
    assert set(facts["classes"]) == {"cat", "person"}
    assert facts["classes"]["cat"]["curve"]["recall"][0] == 1
    assert facts["coco"]["ap50"] == pytest.approx(1)
    assert facts["coco"]["small"] is None
    matrix = facts["confusion"]["confusion_matrix"]
    assert sum(map(sum, matrix[:-1])) == 2
    assert facts["photos_per_second"] > 0


def test_a_pipe_gets_a_tab_separated_table_and_stderr_the_other_measures(boxwright, dataset, tmp_path):
    result = boxwright("evaluate", dataset, "--plots", tmp_path / "plots")
    assert result.code == 0, result.err
    assert result.rows == [["cat", "1", "1.000", "1.000"], ["person", "1", "1.000", "1.000"], ["mean", "2", "1.000", "1.000"]]
    assert "COCO: AP" in result.err
    assert "Next: boxwright detect IMAGE --model everyday" in result.err
    assert "small -" in result.err
    assert f"Plots in {tmp_path / 'plots'}" in result.err
    for name in ("precision_recall.png", "confusion.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_the_next_step_uses_the_confidence_that_the_model_suggests(boxwright, dataset, tmp_path):
    everyday, path = load_model(EVERYDAY), tmp_path / "mine.safetensors"
    save_model(replace(everyday, provenance={**everyday.provenance, "confidence": confidence_text({"cat": 0.1})}), path)
    result = boxwright("evaluate", dataset, "--model", path)
    assert f"Next: boxwright detect IMAGE --model {path} --confidence auto\n" in result.err


def test_boxes_of_unknown_labels_are_reported(boxwright, dataset):
    (dataset / "Annotations" / "cat.xml").write_text(ANNOTATION.format("zebra", 1, 1, 438, 257))
    result = boxwright("evaluate", dataset)
    assert "Ignored: 1 box with labels that the model does not know." in result.err


def test_a_missing_image_set_is_named_with_the_existing_ones(boxwright, dataset):
    result = boxwright("evaluate", dataset, "--set", "test")
    assert result.code == 2
    assert "there is no image set 'test'" in result.err
    assert "Existing sets: val." in result.err


def test_a_data_set_without_image_sets_gets_the_command_that_splits_it(boxwright, dataset):
    (dataset / "ImageSets" / "Main" / "val.txt").unlink()
    result = boxwright("evaluate", dataset)
    assert result.code == 2
    assert f"boxwright data split {dataset}" in result.err


def test_a_set_with_only_reversed_boxes_is_an_error(boxwright, dataset):
    for name in ("cat", "astronaut"):
        (dataset / "Annotations" / f"{name}.xml").write_text(ANNOTATION.format("cat", 400, 250, 1, 1))
    result = boxwright("evaluate", dataset)
    assert result.code == 2
    assert "2 of 2 boxes cannot be used (2 reversed)" in " ".join(result.err.split())


def test_a_roboflow_export_is_evaluated_on_its_folder_valid(boxwright, dataset):
    images, annotations = dataset / "JPEGImages", dataset / "Annotations"
    for name in (path.name for path in annotations.iterdir()):
        stem = name.removesuffix(".xml")
        image = next(images.glob(f"{stem}.*"))
        (dataset / "valid").mkdir(exist_ok=True)
        image.rename(dataset / "valid" / image.name)
        (annotations / name).rename(dataset / "valid" / name)
    shutil.rmtree(dataset / "ImageSets")
    images.rmdir()
    annotations.rmdir()
    result = boxwright("evaluate", dataset)
    assert result.code == 0, result.err
    assert result.rows[-1] == ["mean", "2", "1.000", "1.000"]


def test_a_model_without_any_label_of_the_data_set_is_an_error_that_shows_both_lists(boxwright, dataset):
    for name, box in (("cat", (1, 1, 438, 257)), ("astronaut", (1, 47, 391, 512))):
        (dataset / "Annotations" / f"{name}.xml").write_text(ANNOTATION.format("raccoon", *box))
    result = boxwright("evaluate", dataset)
    assert result.code == 2
    assert "everyday knows aeroplane, bicycle, bird" in result.err
    assert "The data set has raccoon." in result.err


def test_an_image_set_with_only_difficult_boxes_is_an_error(boxwright, dataset):
    for name in ("cat", "astronaut"):
        path = dataset / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace("</name>", "</name><difficult>1</difficult>"))
    result = boxwright("evaluate", dataset, "--json")
    assert result.code == 2
    assert "there is nothing to evaluate: every box is difficult" in result.err


def test_a_recorded_ap_is_in_the_model_file(boxwright, dataset, tmp_path):
    from weights.embedded import EVERYDAY
    from weights.engines.precision import RecordedAp, recorded_ap50
    from weights.formats.safetensors import read_header

    copy = tmp_path / "mine.safetensors"
    shutil.copy(EVERYDAY, copy)
    result = boxwright("evaluate", dataset, "--model", copy, "--record", "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert (facts["precision"], facts["ap50"]) == ("float32", 1)
    assert recorded_ap50(read_header(copy).provenance, "float32") == RecordedAp(1.0, "2 images (data, val)")
    assert read_header(copy).dtype == "float16"
    for arguments in ((), ("--model", copy, "--input-size", "320")):
        result = boxwright("evaluate", dataset, "--record", *arguments)
        assert (result.code, "requires --model FILE.safetensors" in " ".join(result.err.split())) == (2, True)
