"""Files that `boxwright detect` writes: annotated copies and annotations."""

import json

import numpy as np
import pytest
from PIL import Image

from detector.imaging.image import read_image
from training.data.voc_reader import read_annotation


def test_annotated_copies_leave_the_images_unchanged(boxwright, model_file, make_image, tmp_path):
    path, out = make_image("dog.jpg"), tmp_path / "new" / "folder"
    before = path.read_bytes()
    result = boxwright("detect", path, "--model", model_file, "--out", out, "--confidence", "0.01", "--json")
    copy = out / "dog.boxes.jpg"
    assert json.loads(result.out)["annotated"] == str(copy)
    assert list(out.iterdir()) == [copy]
    assert path.read_bytes() == before
    difference = np.abs(np.asarray(Image.open(copy), np.int16) - read_image(before))
    assert difference.shape == (50, 80, 3)
    assert difference.max() > 100  # boxes are drawn


def test_annotated_copies_never_overwrite_an_image_or_each_other(boxwright, model_file, make_image, tmp_path):
    paths = [make_image("dog.jpg"), make_image("dog.png"), make_image("dog-2.boxes.jpg"), make_image("other/dog.jpg")]
    before = [path.read_bytes() for path in paths]
    boxwright("detect", *paths, "--model", model_file, "--out", tmp_path)
    assert [path.read_bytes() for path in paths] == before
    copies = {path.name for path in tmp_path.glob("*.boxes*.jpg")} - {"dog-2.boxes.jpg"}
    assert copies == {"dog.boxes.jpg", "dog-3.boxes.jpg", "dog-4.boxes.jpg", "dog-2.boxes.boxes.jpg"}


def test_annotated_copies_of_an_earlier_run_are_replaced(boxwright, model_file, make_image, tmp_path):
    for _ in range(2):
        boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dog.boxes.jpg"]


def test_an_output_folder_that_cannot_be_created_is_an_error(boxwright, model_file, make_image, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--out", tmp_path / "taken" / "out")
    assert result.code == 2
    assert result.err.startswith("boxwright: ")
    assert result.err.count("\n") == 1
    assert "taken" in result.err


def test_voc_annotations_have_the_same_boxes_as_json(boxwright, model_file, make_image, tmp_path):
    path = make_image("dog.jpg")
    result = boxwright("detect", path, "--model", model_file, "--confidence", "0.05", "--voc", tmp_path / "xml", "--json")
    record = json.loads(result.out)
    assert record["voc"] == str(tmp_path / "xml" / "dog.xml")
    annotation = read_annotation(tmp_path / "xml", "dog")
    assert (annotation.filename, annotation.size) == ("dog.jpg", (80, 50))
    assert annotation.labels == tuple(detection["label"] for detection in record["detections"])
    np.testing.assert_allclose(annotation.boxes, [list(detection["box"].values()) for detection in record["detections"]], atol=1e-3)


def test_an_image_without_detections_gets_an_annotation_without_objects(boxwright, model_file, make_image, tmp_path):
    boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--confidence", "1", "--voc", tmp_path)
    assert read_annotation(tmp_path, "dog").labels == ()


def test_existing_annotations_are_left_unchanged(boxwright, model_file, make_image, tmp_path):
    (tmp_path / "dog.xml").write_text("corrected by hand")
    result = boxwright("detect", make_image("dog.jpg"), make_image("cat.jpg"), "--model", model_file, "--voc", tmp_path)
    assert result.code == 1
    assert f"{tmp_path / 'dog.xml'} exists already" in result.err
    assert (tmp_path / "dog.xml").read_text() == "corrected by hand"
    assert (tmp_path / "cat.xml").is_file()


@pytest.mark.parametrize("option", ["--out", "--voc"])
def test_an_image_name_as_output_folder_is_an_error(boxwright, model_file, make_image, tmp_path, option):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, option, tmp_path / "result.jpg")
    assert result.code == 2
    assert f"{option} takes a folder" in result.err
    assert not (tmp_path / "result.jpg").exists()


def test_the_number_of_written_files_is_printed_to_stderr(boxwright, model_file, make_image, tmp_path):
    out = tmp_path / "out"
    result = boxwright("detect", make_image("a.jpg"), make_image("b.jpg"), "--model", model_file, "--out", out, "--voc", tmp_path / "xml")
    assert result.err == f"2 annotated copies in {out}\n2 VOC annotations in {tmp_path / 'xml'}\n"
