"""The memory on the command line: weights remember, info and strip, evaluate --background, and detect --confidence auto."""

import json
import re
import shutil
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from PIL import Image

from detector.network.layers import Conv, MaxPool
from detector.network.spec import Model, ModelSpec
from weights.formats.provenance import CONFIDENCE_KEY, class_confidence, recorded_confidence
from weights.formats.safetensors import load_memory, load_model, save_model

XML = """<annotation><filename>{0}.png</filename><object><name>{1}</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>40</xmax>
<ymax>30</ymax></bndbox></object></annotation>"""


@pytest.fixture
def dataset(tmp_path):
    """Six images of cats and dogs."""
    folder = tmp_path / "pets"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 120, (50, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"JPEGImages/{number}.png")
        (folder / f"Annotations/{number}.xml").write_text(XML.format(number, ("cat", "dog")[number % 2]), encoding="utf-8")
    for name in ("train", "val"):
        (folder / f"ImageSets/Main/{name}.txt").write_text("".join(f"{number}\n" for number in range(6)), encoding="utf-8")
    return folder


@pytest.fixture
def model_file(tmp_path, random_arrays):
    """A small model with a backbone; its labels are cat, dog and person."""
    stem = tuple(layer for i in range(5) for layer in (Conv(f"conv{i + 1}", 8), MaxPool(f"pool{i + 1}")))
    head = (Conv("conv6", 8), Conv("conv7", 8), Conv("linear", 2 * (5 + 3), size=1, normalize=False, activation="linear"))
    spec = ModelSpec(("cat", "dog", "person"), ((0.7, 0.9), (1.5, 1.1)), (*stem, *head), input_size=64)
    path = tmp_path / "tiny.safetensors"
    save_model(Model("tiny-random", spec, random_arrays((*stem, *head), 1)), path)
    return path


def test_remember_adds_a_memory_that_info_describes_and_strip_removes(boxwright, dataset, model_file, tmp_path):
    out, stripped = tmp_path / "with.safetensors", tmp_path / "without.safetensors"
    made = boxwright("weights", "remember", model_file, dataset, "--images", 4, "--size", 64, "--out", out)
    assert made.code == 0, made.err
    assert "the memory of 4 images has" in made.out
    assert f"Next: boxwright finetune DATASET --model {out}" in made.err
    facts = json.loads(boxwright("weights", "info", out, "--json").out)["memory"]
    assert (facts["images"], facts["input_sizes"], facts["boxes"]) == (4, [64], {"cat": 2, "dog": 2})
    assert "boxes: 2 cat, 2 dog" in boxwright("weights", "info", out).out
    result = boxwright("weights", "strip", out, "--out", stripped)
    assert result.code == 0
    assert "without its memory" in result.out
    assert f"Next: boxwright weights info {stripped}" in result.err
    assert stripped.read_bytes() == model_file.read_bytes()
    assert json.loads(boxwright("weights", "info", stripped, "--json").out)["memory"] is None
    assert "without its memory" in boxwright("weights", "strip", "everyday", "--out", tmp_path / "everyday.safetensors").out
    assert "it has no memory" in boxwright("weights", "strip", stripped, "--out", tmp_path / "again.safetensors").out


def test_a_damaged_memory_is_an_error_for_info_and_finetune_but_not_for_detect(boxwright, dataset, model_file, tmp_path):
    out = tmp_path / "with.safetensors"
    assert boxwright("weights", "remember", model_file, dataset, "--size", 64, "--out", out).code == 0
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    for arguments in (("weights", "info", out), ("finetune", dataset, "--model", out, "--out", tmp_path / "runs")):
        result = boxwright(*arguments)
        assert result.code == 2
        assert "its memory is damaged" in result.err
    assert boxwright("detect", dataset / "JPEGImages" / "0.png", "--model", out).code == 0


def test_an_output_that_is_not_a_model_file_is_refused(boxwright, dataset, model_file, tmp_path):
    for command in (("remember", model_file, dataset), ("strip", model_file)):
        result = boxwright("weights", *command, "--out", tmp_path / "model.onnx")
        assert result.code == 2
        assert ".safetensors" in result.err


def test_evaluate_counts_false_alarms_in_background_images(boxwright, dataset, model_file, tmp_path):
    shutil.copytree(dataset / "JPEGImages", tmp_path / "background")
    result = boxwright("evaluate", dataset, "--model", model_file, "--background", tmp_path / "background", "--json")
    assert result.code == 0, result.err
    shares = json.loads(result.out)["false_alarms"]
    assert set(shares) == {"cat", "dog", "any of them"}
    assert all(each["images"] == 6 and each["0.25"] >= each["0.5"] for each in shares.values())
    assert "only 3 boxes of cat: one box changes its AP50 by about 33 points" in result.err
    text = boxwright("evaluate", dataset, "--model", model_file, "--background", tmp_path / "background")
    assert [row[:2] for row in text.rows if row[0] in ("cat", "any of them")][-2:] == [["cat", "6"], ["any of them", "6"]]
    (tmp_path / "empty").mkdir()
    assert boxwright("evaluate", dataset, "--model", model_file, "--background", tmp_path / "empty").code == 2


def test_confidence_auto_uses_the_threshold_of_each_class(boxwright, dataset, model_file, tmp_path):
    image = dataset / "JPEGImages" / "0.png"

    def detections(file, confidence):
        return json.loads(boxwright("detect", image, "--model", file, "--confidence", confidence, "--json").out)["detections"]

    every = detections(model_file, "0.001")
    assert {each["label"] for each in every} >= {"cat", "dog"}
    model = load_model(model_file)
    file = tmp_path / "suggested.safetensors"
    save_model(replace(model, provenance={CONFIDENCE_KEY: '{"cat": 1.0, "dog": 0.001, "person": 1.0, "zebra": 0.5}'}), file)
    assert detections(file, "auto") == [each for each in every if each["label"] == "dog"]
    assert detections(model_file, "auto") == detections(model_file, "0.25")
    assert recorded_confidence(load_model(file).provenance, ("dog", "cat")) == {"dog": 0.001, "cat": 1.0}
    np.testing.assert_allclose(class_confidence(load_model(file).provenance, ("bird", "dog")), [0.25, 0.001])


def test_thresholds_of_many_labels_are_read_in_linear_time():
    labels = tuple(f"class {number}" for number in range(50_000))
    provenance = {CONFIDENCE_KEY: json.dumps(dict.fromkeys(reversed(labels), 0.5))}
    started = process_time()
    assert len(recorded_confidence(provenance, labels)) == len(labels)
    assert process_time() - started < 8


@pytest.mark.parametrize("text", ["[1]", '{"cat": "high"}', '{"cat": 2}', '{"cat": true}', "{", "[" * 10_000])
def test_a_damaged_record_of_thresholds_is_an_error(boxwright, dataset, model_file, tmp_path, text):
    file = tmp_path / "odd.safetensors"
    save_model(replace(load_model(model_file), provenance={CONFIDENCE_KEY: text}), file)
    result = boxwright("detect", dataset / "JPEGImages" / "0.png", "--model", file, "--confidence", "auto")
    assert result.code == 2
    assert "provenance.confidence" in result.err


@pytest.mark.parametrize("value", ["high", "-0.1", "1.5", "nan"])
def test_an_invalid_confidence_is_an_error(boxwright, dataset, model_file, value):
    result = boxwright("detect", dataset / "JPEGImages" / "0.png", "--model", model_file, "--confidence", value)
    assert result.code == 2
    assert "must be a number from 0 to 1, or auto" in " ".join(result.err.replace("│", " ").split())


def test_finetune_stores_a_memory_that_serving_does_not_need(boxwright, dataset, model_file, tmp_path):
    quick = ("--epochs", 1, "--sizes", "64", "--batch-size", 4, "--check-every", 1, "--unfreeze-at", 1)
    result = boxwright(
        "finetune", dataset, "--model", model_file, "--out", tmp_path / "runs", "--background", dataset / "JPEGImages", *quick
    )
    assert result.code == 0, result.err
    assert re.search(r"False alarms \(.*\) in [0-9]+ background images: .*% at confidence 0\.25", result.out)
    assert "Warning: the validation set has only 3 boxes of cat" in result.out
    assert load_memory(tmp_path / "runs" / "pets-001" / "best.safetensors")
