"""`boxwright detect` with a model in this process."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.detect.backends import DetectionOptions, LocalBackend
from detector.detector import Detector
from detector.engines.onnxruntime import OnnxEngine
from detector.imaging.image import decode_image, read_image
from service.schemas.detections import Detection
from training.data.voc_reader import read_annotation
from weights.engines.options import EngineOptions
from weights.formats.safetensors import save_model

ROOT = Path(__file__).resolve().parents[3]


def test_output_has_a_tab_separated_line_for_every_detection(boxwright, model_file, make_image, tiny_model):
    path = make_image("dog.jpg")
    detections = Detector(tiny_model.spec, OnnxEngine.of(tiny_model)).detect(read_image(path.read_bytes()), score_threshold=0.05)
    result = boxwright("detect", path, "--model", model_file, "--confidence", "0.05")
    assert result.code == 0
    assert result.err == ""
    assert len(detections) > 0
    assert [row[:3] for row in result.rows] == [
        [str(path), tiny_model.spec.labels[class_id], f"{score:.3f}"]
        for class_id, score in zip(detections.class_ids, detections.scores, strict=True)
    ]
    assert [[float(edge) for edge in row[3:]] for row in result.rows] == [
        pytest.approx(box, abs=0.051) for box in detections.boxes.tolist()
    ]


def test_a_terminal_shows_the_boxes_below_the_name_of_each_image(boxwright, model_file, make_image, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = make_image(f"{'long' * 40}.jpg")
    result = boxwright("detect", long, make_image("dog.jpg"), "--model", model_file, "--confidence", "0.05")
    plain = re.sub(r"\x1b\[[\d;?]*\w", "", result.out)
    assert str(long) in plain.splitlines()
    assert plain.count("label") == 2
    assert "\t" not in plain


def test_an_image_without_detections_has_a_line_of_dashes(boxwright, model_file, make_image):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--confidence", "1")
    assert result.code == 0
    assert [row[1:] for row in result.rows] == [["-"] * 6]


def test_json_is_one_line_per_image(boxwright, model_file, make_image):
    paths = [make_image("one.jpg"), make_image("three.png", 31, 90)]
    result = boxwright("detect", *paths, "--model", model_file, "--json", "--confidence", "0.05")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert result.err == ""
    assert [line["photo"] for line in lines] == [str(path) for path in paths]
    assert [line["image"] for line in lines] == [{"width": 80, "height": 50}, {"width": 31, "height": 90}]
    assert all(list(line) == ["photo", "model", "image", "detections"] for line in lines)
    assert list(lines[0]["detections"][0]) == ["label", "score", "box"]


def test_an_unreadable_image_is_named_and_the_others_are_processed(boxwright, model_file, make_image, tmp_path):
    text, missing = tmp_path / "notes.txt", tmp_path / "missing.jpg"
    text.write_text("not an image")
    result = boxwright("detect", make_image("a.jpg"), text, missing, make_image("b.jpg"), "--model", model_file, "--json")
    assert result.code == 1
    assert [json.loads(line)["photo"] for line in result.out.splitlines()] == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    messages = [line.partition(": ") for line in result.err.splitlines()]
    assert [path for path, _, _ in messages] == [str(text), str(missing)]
    assert all(len(message) > 10 for _, _, message in messages)


def test_nothing_is_printed_to_stdout_if_no_image_can_be_read(boxwright, model_file, tmp_path):
    result = boxwright("detect", tmp_path / "missing.jpg", "--model", model_file)
    assert (result.code, result.out) == (1, "")


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


def save_antialiased_model(tiny_model, tmp_path):
    """Return a model that decodes large JPEG files at a reduced scale, and the path of its file."""
    model = replace(tiny_model, spec=replace(tiny_model.spec, resample="antialiased"))
    save_model(model, tmp_path / "antialiased.safetensors")
    return model, tmp_path / "antialiased.safetensors"


@pytest.mark.parametrize("annotate", [False, True])
def test_a_large_image_gets_the_same_scores_as_from_the_service(tiny_model, make_image, tmp_path, annotate):
    model, file = save_antialiased_model(tiny_model, tmp_path)
    path = make_image("large.jpg", 900, 700)
    backend = LocalBackend.load(str(file), EngineOptions("onnxruntime"), DetectionOptions(0.01, 0.45, (), annotate))
    result = backend.detect(path)
    backend.engine_writer.join()
    detector = Detector(model.spec, OnnxEngine.of(model))
    prepared = detector.preprocess(decode_image(path.read_bytes(), detector.min_decode_side))
    expected = detector.postprocess(detector.forward(prepared.pixels[None])[0], prepared, score_threshold=0.01)
    assert list(result.detections) == Detection.from_detections(expected, model.spec.labels) != []
    assert (result.width, result.height) == (900, 700)


def test_annotated_copies_have_the_size_of_the_image(boxwright, tiny_model, make_image, tmp_path):
    _, file = save_antialiased_model(tiny_model, tmp_path)
    result = boxwright("detect", make_image("large.jpg", 900, 700), "--model", file, "--out", tmp_path / "out")
    assert result.code == 0
    assert read_image((tmp_path / "out" / "large.boxes.jpg").read_bytes()).shape == (700, 900, 3)


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


def test_only_requested_classes_are_detected(boxwright, model_file, make_image):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--classes", "dog", "--confidence", "0.01", "--json")
    assert {detection["label"] for detection in json.loads(result.out)["detections"]} == {"dog"}


def test_an_unknown_class_is_an_error_that_lists_the_known_classes(boxwright, model_file, make_image):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--classes", "unicorn")
    assert result.code == 2
    assert all(label in result.err for label in ("unicorn", "cat", "dog", "person"))


@pytest.mark.parametrize("label", ["[red]", "[/]", "a\\b"])
def test_labels_and_paths_with_markup_characters_are_printed_unchanged(boxwright, make_image, tmp_path, tiny_model, label):
    model = replace(tiny_model, spec=replace(tiny_model.spec, labels=(label, "dog", "person")))
    save_model(model, tmp_path / "odd.safetensors")
    result = boxwright(
        "detect", make_image("[bold]dog.jpg"), "--model", tmp_path / "odd.safetensors", "--confidence", "0.01", "--classes", label
    )
    assert result.code == 0
    assert label in result.out


@pytest.mark.parametrize(("count", "expected"), [(1, False), (3, True)])
def test_a_progress_bar_for_several_images_goes_to_stderr_only(model_file, make_image, count, expected):
    paths = [str(make_image(f"{index}.jpg")) for index in range(count)]
    command = [sys.executable, "-m", "cli.main", "detect", *paths, "--model", str(model_file), "--json"]
    terminal, child_terminal = os.openpty()
    result = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=child_terminal, check=True, text=True, env=os.environ | {"TERM": "xterm"}
    )
    os.close(child_terminal)
    os.set_blocking(terminal, False)
    try:
        bar = os.read(terminal, 65536).decode()
    except OSError:  # nothing was written to the terminal
        bar = ""
    os.close(terminal)
    assert ("detecting" in bar) == expected
    assert [json.loads(line)["photo"] for line in result.stdout.splitlines()] == paths


def test_an_output_folder_that_cannot_be_created_is_an_error(boxwright, model_file, make_image, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--out", tmp_path / "taken" / "out")
    assert result.code == 2
    assert result.err.startswith("boxwright: ")
    assert result.err.count("\n") == 1
    assert "taken" in result.err


def image_paths(result):
    return [Path(json.loads(line)["photo"]) for line in result.out.splitlines()]


def test_a_folder_means_the_images_in_it_and_below(boxwright, model_file, make_image, tmp_path):
    paths = [make_image(f"album/{name}") for name in ("b.jpg", "a.png", "deeply/nested/c.jpg")]
    for ignored in ("album/.hidden.jpg", "album/.thumbnails/a.jpg", "album/a.boxes.jpg"):
        make_image(ignored)
    (tmp_path / "album" / "notes.txt").write_text("no image")
    result = boxwright("detect", tmp_path / "album", "--model", model_file, "--jsonl")
    assert (result.code, result.err) == (0, "")
    assert image_paths(result) == sorted(paths)


def test_a_pattern_means_the_matching_files_unless_a_file_has_that_name(boxwright, model_file, make_image, tmp_path):
    paths = [make_image(name) for name in ("1.jpg", "2.jpg", "nested/3.jpg", "[12].png")]
    result = boxwright("detect", tmp_path / "**" / "[12].jpg", tmp_path / "[12].png", "--model", model_file, "--json")
    assert image_paths(result) == [paths[0], paths[1], paths[3]]


def test_folders_and_patterns_without_images_are_reported_and_the_others_processed(boxwright, model_file, make_image, tmp_path):
    (tmp_path / "empty").mkdir()
    result = boxwright("detect", tmp_path / "empty", tmp_path / "*.gif", make_image("a.jpg"), "--model", model_file, "--json")
    assert result.code == 1
    assert image_paths(result) == [tmp_path / "a.jpg"]
    first, second = result.err.splitlines()
    assert first.startswith(f"{tmp_path / 'empty'}: no image in this folder")
    assert second == f"{tmp_path / '*.gif'}: no file matches this pattern."


def test_pipes_and_devices_are_not_read(boxwright, model_file, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    result = boxwright("detect", tmp_path / "pipe.jpg", "/dev/zero", "--model", model_file)
    assert (result.code, result.out) == (1, "")
    for line, path in zip(result.err.splitlines(), (tmp_path / "pipe.jpg", "/dev/zero"), strict=True):
        assert line.startswith(f"{path}: this is not a regular file")
        assert "To read a pipe, use '-'" in line


def test_standard_input_is_read(model_file, make_image, tmp_path):
    command = [sys.executable, "-m", "cli.main", "detect", "-", "--model", str(model_file), "--json", "--out", str(tmp_path / "out")]
    with make_image("a.jpg").open("rb") as file:
        result = subprocess.run(command, cwd=ROOT, stdin=file, capture_output=True, check=True)
    assert json.loads(result.stdout)["annotated"] == str(tmp_path / "out" / "stdin.boxes.jpg")


def test_a_file_larger_than_any_image_is_an_error(boxwright, model_file, tmp_path):
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(2**40)
    result = boxwright("detect", tmp_path / "large.jpg", "--model", model_file)
    assert result.code == 1
    assert "more than 536,870,912 bytes" in result.err


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


def test_classes_are_accepted_in_any_case_and_separated_by_commas(boxwright, model_file, make_image):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--classes", "DOG,person", "--confidence", "0.001", "--json")
    assert result.code == 0, result.err
    assert {detection["label"] for detection in json.loads(result.out)["detections"]} <= {"dog", "person"}


def test_a_misspelt_class_gets_a_suggestion(boxwright, model_file, make_image):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--classes", "dgo")
    assert result.code == 2
    assert "Did you mean 'dog'?" in result.err


def test_a_url_gets_the_command_that_downloads_it(boxwright):
    result = boxwright("detect", "https://example.com/dog.jpg")
    assert result.code == 1
    assert result.err == (
        "https://example.com/dog.jpg: URLs are not downloaded. "
        "Run: curl --silent --location 'https://example.com/dog.jpg' | boxwright detect -\n"
    )


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


def test_the_first_use_of_a_model_prints_nothing_to_stderr(make_image, tmp_path):
    command = [sys.executable, "-m", "cli.main", "detect", str(make_image("a.jpg"))]
    variables = {"BOXWRIGHT_HOME": str(tmp_path / "home"), "BOXWRIGHT_ENGINES": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | variables)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_input_size_gives_the_boxes_of_a_model_file_with_that_size(boxwright, model_file, make_image, tiny_model, tmp_path):
    image, resized_file = make_image("dog.jpg"), tmp_path / "resized.safetensors"
    save_model(tiny_model.at_input_size(160), resized_file)
    options = ("--confidence", "0.05", "--json")
    resized = boxwright("detect", image, "--model", model_file, "--input-size", "160", *options)
    assert resized.code == 0, resized.err
    assert resized.out == boxwright("detect", image, "--model", resized_file, *options).out
    assert resized.out != boxwright("detect", image, "--model", model_file, *options).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--input-size", "100"), "input size 100: this network needs a multiple of 32 from 32 to 4096 pixels, such as 96."),
        (("--precision", "int8"), "this model has no 8-bit version. 'boxwright quantize MODEL --calibration DIR' writes one"),
        (("--engine", "onnxruntime", "--precision", "bfloat16"), "the engine onnxruntime does not compute in bfloat16"),
        (("--engine", "tensorflow", "--device", "cpu"), "the engine tensorflow does not support the device 'cpu'"),
        (("--server", "http://127.0.0.1:1", "--precision", "int8"), "the service has its own engine"),
        (("--server", "http://127.0.0.1:1", "--input-size", "96"), "the service has its own engine"),
    ],
)
def test_options_that_the_model_or_engine_does_not_support_are_explained(boxwright, model_file, make_image, arguments, message):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, *arguments)
    assert result.code == 2
    assert message in " ".join(result.err.replace("\u2502", " ").split())


def test_everyday_has_two_precisions_under_one_name(boxwright):
    cat = ROOT / "docs" / "photos" / "cat.jpg"
    exact, fast, alias = (
        json.loads(boxwright("detect", cat, "--json", *arguments).out)
        for arguments in (("--precision", "float32"), ("--precision", "int8"), ("--model", "everyday-int8", "--precision", "int8"))
    )
    assert exact["model"] == fast["model"] == "everyday"
    assert exact["detections"] != fast["detections"] == alias["detections"]
    assert [detection["label"] for detection in exact["detections"]] == [detection["label"] for detection in fast["detections"]] == ["cat"]
