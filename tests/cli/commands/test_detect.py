"""`boxwright detect` with a model in this process."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cli.detect.backends import DetectionOptions, LocalBackend
from detector.detector import Detector
from detector.engines.onnxruntime import OnnxEngine
from detector.imaging.image import decode_image, read_image
from service.schemas.detections import Detection
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


def test_classes_are_accepted_in_any_case_and_separated_by_commas(boxwright, model_file, make_image):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--classes", "DOG,person", "--confidence", "0.001", "--json")
    assert result.code == 0, result.err
    assert {detection["label"] for detection in json.loads(result.out)["detections"]} <= {"dog", "person"}


def test_a_misspelt_class_gets_a_suggestion(boxwright, model_file, make_image):
    result = boxwright("detect", make_image("dog.jpg"), "--model", model_file, "--classes", "dgo")
    assert result.code == 2
    assert "Did you mean 'dog'?" in result.err


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
