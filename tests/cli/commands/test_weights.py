"""`boxwright weights import` and `boxwright weights info`."""

import json
from dataclasses import replace

import numpy as np
import pytest

from detector.network.shapes import array_shapes, operations, output_shapes, parameters
from weights.formats.darknet.weights import write_darknet
from weights.formats.safetensors import load_model, save_model


@pytest.fixture
def darknet(tiny_model, tmp_path):
    """.cfg, .weights and .names of the tiny model."""
    cfg, weights, names = (tmp_path / f"tiny.{suffix}" for suffix in ("cfg", "weights", "names"))
    write_darknet(tiny_model, cfg, weights)
    names.write_text("\n".join(tiny_model.spec.labels) + "\n\n")
    return cfg, weights, names


def test_an_imported_model_equals_the_one_that_was_exported(boxwright, darknet, tiny_model, tmp_path):
    cfg, weights, names = darknet
    out = tmp_path / "imported.safetensors"
    result = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out)
    assert result.code == 0, result.err
    assert str(out) in result.out
    imported = load_model(out)
    assert imported.name == "imported"
    assert imported.spec.labels == tiny_model.spec.labels
    assert np.allclose(imported.spec.anchors, tiny_model.spec.anchors)
    arrays = zip(imported.arrays.values(), tiny_model.arrays.values(), strict=True)  # a .cfg file has neither layer names nor epsilon
    assert all(np.allclose(first_array, second_array, atol=2e-5) for first_array, second_array in arrays)


def test_float16_halves_the_file(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    sizes = []
    for options in ([], ["--float16"]):
        out = tmp_path / f"imported{len(options)}.safetensors"
        assert boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out, *options).code == 0
        sizes.append(out.stat().st_size)
    shapes = array_shapes(load_model(out).spec.network)
    kernels = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith("/kernel"))
    assert abs(sizes[0] - sizes[1] - 2 * kernels) < 64  # the headers differ by a few characters


def test_a_wrong_number_of_labels_is_an_error_and_writes_nothing(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    names.write_text("cat\ndog\n")
    result = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", tmp_path / "imported.safetensors")
    assert result.code == 2
    assert result.err.startswith("boxwright: ")
    assert not (tmp_path / "imported.safetensors").exists()


def test_truncated_weights_are_an_error_and_leave_an_existing_file_unchanged(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    out = tmp_path / "imported.safetensors"
    assert boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out).code == 0
    before = out.read_bytes()
    weights.write_bytes(weights.read_bytes()[:-1])
    result = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out)
    assert result.code == 2
    assert str(weights) in result.err
    assert out.read_bytes() == before


def test_json_info_has_each_layer_and_the_totals(boxwright, model_file, tiny_model):
    result = boxwright("weights", "info", model_file, "--json")
    facts, network = json.loads(result.out), tiny_model.spec.network
    assert result.err == ""
    assert facts["parameters"] == parameters(network) == sum(layer["parameters"] for layer in facts["layers"])
    assert facts["operations"] == operations(network, 64) == sum(layer["operations"] for layer in facts["layers"])
    assert [layer["name"] for layer in facts["layers"]] == [layer.name for layer in network]
    assert [layer["output"] for layer in facts["layers"]] == [[s.side, s.side, s.channels] for s in output_shapes(network, 64).values()]
    first = sum(int(np.prod(shape)) for name, shape in array_shapes(network).items() if name.startswith("conv1/"))
    assert facts["layers"][0]["parameters"] == first
    assert facts["layers"][0]["operations"] == 2 * 3 * 3 * 3 * 8 * 64 * 64
    assert facts["labels"] == ["cat", "dog", "person"]
    assert facts["provenance"] == {"source": "seeded random numbers"}


def test_info_prints_the_facts_and_on_request_the_layers_below(boxwright, model_file, tiny_model):
    brief = boxwright("weights", "info", model_file)
    assert brief.out.startswith("name: tiny-random\n")
    assert "convolution 3x3" not in brief.out
    assert "layers: 11 (--layers lists them)" in brief.out
    result = boxwright("weights", "info", model_file, "--layers")
    assert result.code == 0
    assert result.out.startswith("name: tiny-random\n")
    assert all(layer.name in result.out for layer in tiny_model.spec.network)
    assert all(words in result.out for words in ("cat, dog, person", "source: seeded random numbers", "64 x 64 x 8", "convolution 3x3 / 1"))


def test_info_names_the_layers_in_8_bits(boxwright):
    facts = json.loads(boxwright("weights", "info", "everyday-int8", "--json").out)
    assert set(facts["in_8_bits"]) == {layer["name"] for layer in facts["layers"] if layer["operations"]}
    assert "in_8_bits: 53 of 53 convolutions\n" in boxwright("weights", "info", "everyday-int8").out
    assert "in_8_bits: 0 of 53 convolutions\n" in boxwright("weights", "info", "everyday").out


def test_info_folds_no_line_and_escapes_control_characters(boxwright, tiny_model, tmp_path):
    long, control = "a long text " * 50, "\x1b]0;owned\x07"
    save_model(replace(tiny_model, provenance={"long": long, "worse": control, control: "a"}), tmp_path / "a.safetensors")
    out = boxwright("weights", "info", tmp_path / "a.safetensors").out
    assert f"provenance.long: {long}" in out
    assert r"provenance.worse: \x1b]0;owned\x07" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("line", ["[\x1b[31mred]", "\x9b2J=1", "[net]\nwidth=\x1b[2J"])
def test_an_error_about_an_untrusted_cfg_escapes_control_characters(boxwright, darknet, tmp_path, monkeypatch, line):
    monkeypatch.setenv("FORCE_COLOR", "1")
    cfg, weights, _ = darknet
    cfg.write_bytes(line.encode("latin-1"))
    result = boxwright("weights", "import", cfg, weights, "--out", tmp_path / "a.safetensors")
    assert result.code == 2
    assert "boxwright: " in result.err
    assert not any(part in result.err for part in ("\x1b[31mred", "\x9b", "\x1b[2J"))


def test_an_imported_yolo_lite_detects_a_dog(boxwright, shared, tmp_path):
    folder, out = shared / "weights", tmp_path / "lite.safetensors"
    files = folder / "yolo-lite-voc-nobn.cfg", folder / "yolo-lite-voc-nobn.weights"
    assert boxwright("weights", "import", *files, "--labels", folder / "voc.names", "--out", out).code == 0
    result = boxwright("detect", shared / "photos" / "dog.jpg", "--model", out, "--json")
    assert "dog" in {detection["label"] for detection in json.loads(result.out)["detections"]}


def test_the_first_layers_can_be_imported_as_a_backbone(boxwright, darknet, tmp_path):
    cfg, weights, _ = darknet
    out = tmp_path / "backbone.safetensors"
    result = boxwright("weights", "import", cfg, weights, "--layers", "4", "--out", out)
    assert result.code == 0, result.err
    backbone = load_model(out)
    assert len(backbone.spec.network) == 4
    assert not backbone.spec.is_detector


def test_an_import_never_overwrites_its_input_files(boxwright, darknet):
    cfg, weights, names = darknet
    before = weights.read_bytes()
    for out in (weights, cfg, names):
        result = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out)
        assert result.code == 2
        assert "new model file" in result.err
    assert weights.read_bytes() == before


def test_a_names_file_without_labels_is_an_error(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    names.write_text("\n")
    result = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", tmp_path / "imported.safetensors")
    assert result.code == 2
    assert "the file contains no label" in result.err


def test_an_import_without_labels_prints_the_assumed_names(boxwright, darknet, tmp_path):
    cfg, weights, _ = darknet
    result = boxwright("weights", "import", cfg, weights, "--out", tmp_path / "imported.safetensors")
    assert result.code == 0
    assert "No --labels file was given: the classes are named 'class 0' to 'class 2'." in result.err


def test_a_misspelt_name_gets_a_suggestion(boxwright):
    for command in ("pull", "info", "verify", "remove"):
        result = boxwright("weights", command, "yolov2-vok")
        assert result.code == 2
        assert "Did you mean 'yolov2-voc'?" in result.err


def test_a_run_folder_as_model_gets_the_path_of_its_model_file(boxwright, model_file, tmp_path):
    (tmp_path / "run").mkdir()
    model_file.rename(tmp_path / "run" / "best.safetensors")
    result = boxwright("weights", "info", tmp_path / "run")
    assert result.code == 2
    assert f"Use its model: {tmp_path / 'run' / 'best.safetensors'}" in result.err
