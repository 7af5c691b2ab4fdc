"""`boxwright weights`: Darknet's files in, and what a model file holds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from detector.shapes import array_shapes, operations, output_shapes, parameters
from weights.formats.darknet.weights import write_darknet
from weights.formats.safetensors import load_model, save_model


@pytest.fixture
def darknet(tiny_model, tmp_path):
    """.cfg, .weights and .names of the tiny model."""
    cfg, weights, names = (tmp_path / f"tiny.{suffix}" for suffix in ("cfg", "weights", "names"))
    write_darknet(tiny_model, cfg, weights)
    names.write_text("\n".join(tiny_model.spec.labels) + "\n\n")
    return cfg, weights, names


def test_import_makes_the_same_model_of_darknet_s_files(boxwright, darknet, tiny_model, tmp_path):
    cfg, weights, names = darknet
    out = tmp_path / "made.safetensors"
    ended = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out)
    assert ended.code == 0, ended.err
    assert str(out) in ended.out
    made = load_model(out)
    assert made.name == "made"
    assert made.spec.labels == tiny_model.spec.labels
    assert np.allclose(made.spec.anchors, tiny_model.spec.anchors)
    arrays = zip(made.arrays.values(), tiny_model.arrays.values(), strict=True)  # a .cfg keeps no names, nor the epsilon
    assert all(np.allclose(ours, theirs, atol=2e-5) for ours, theirs in arrays)


def test_float16_halves_the_file(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    sizes = []
    for options in ([], ["--float16"]):
        out = tmp_path / f"made{len(options)}.safetensors"
        assert boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out, *options).code == 0
        sizes.append(out.stat().st_size)
    shapes = array_shapes(load_model(out).spec.network)
    kernels = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith("/kernel"))
    assert abs(sizes[0] - sizes[1] - 2 * kernels) < 64  # the headers differ by some letters


def test_the_wrong_number_of_labels_is_refused_and_writes_nothing(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    names.write_text("cat\ndog\n")
    ended = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", tmp_path / "made.safetensors")
    assert ended.code == 2
    assert ended.err.startswith("boxwright: ")
    assert not (tmp_path / "made.safetensors").exists()


def test_weights_cut_short_are_refused_and_leave_an_older_file_alone(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    out = tmp_path / "made.safetensors"
    assert boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out).code == 0
    before = out.read_bytes()
    weights.write_bytes(weights.read_bytes()[:-1])
    ended = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out)
    assert ended.code == 2
    assert str(weights) in ended.err
    assert out.read_bytes() == before


def test_info_as_json_tells_each_layer_and_the_totals(boxwright, model_file, tiny_model):
    ended = boxwright("weights", "info", model_file, "--json")
    facts, network = json.loads(ended.out), tiny_model.spec.network
    assert ended.err == ""
    assert facts["parameters"] == parameters(network) == sum(layer["parameters"] for layer in facts["layers"])
    assert facts["operations"] == operations(network, 64) == sum(layer["operations"] for layer in facts["layers"])
    assert [layer["name"] for layer in facts["layers"]] == [layer.name for layer in network]
    assert [layer["output"] for layer in facts["layers"]] == [[s.side, s.side, s.channels] for s in output_shapes(network, 64).values()]
    first = sum(int(np.prod(shape)) for name, shape in array_shapes(network).items() if name.startswith("conv1/"))
    assert facts["layers"][0]["parameters"] == first
    assert facts["layers"][0]["operations"] == 2 * 3 * 3 * 3 * 8 * 64 * 64
    assert facts["labels"] == ["cat", "dog", "person"]
    assert facts["provenance"] == {"source": "seeded random numbers"}


def test_info_prints_a_table_and_the_facts(boxwright, model_file, tiny_model):
    ended = boxwright("weights", "info", model_file)
    assert ended.code == 0
    assert all(layer.name in ended.out for layer in tiny_model.spec.network)
    assert all(words in ended.out for words in ("cat, dog, person", "source: seeded random numbers", "64 x 64 x 8", "convolution 3x3 / 1"))


def test_info_says_what_is_computed_in_8_bits(boxwright):
    facts = json.loads(boxwright("weights", "info", "everyday-int8", "--json").out)
    assert set(facts["in_8_bits"]) == {layer["name"] for layer in facts["layers"] if layer["operations"]}
    assert "in_8_bits: 53 of 53 convolutions\n" in boxwright("weights", "info", "everyday-int8").out
    assert "in_8_bits: 0 of 53 convolutions\n" in boxwright("weights", "info", "everyday").out


def test_info_in_a_pipe_folds_nothing_and_a_strangers_words_do_not_steer_the_terminal(boxwright, tiny_model, tmp_path):
    long, steering = "much to say " * 50, "\x1b]0;owned\x07"
    save_model(replace(tiny_model, provenance={"long": long, "worse": steering, steering: "a"}), tmp_path / "a.safetensors")
    out = boxwright("weights", "info", tmp_path / "a.safetensors").out
    assert f"provenance.long: {long}" in out
    assert r"provenance.worse: \x1b]0;owned\x07" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("line", ["[\x1b[31mred]", "\x9b2J=1", "[net]\nwidth=\x1b[2J"])
def test_a_strangers_cfg_that_is_refused_does_not_steer_the_terminal(boxwright, darknet, tmp_path, monkeypatch, line):
    monkeypatch.setenv("FORCE_COLOR", "1")
    cfg, weights, _ = darknet
    cfg.write_bytes(line.encode("latin-1"))
    ended = boxwright("weights", "import", cfg, weights, "--out", tmp_path / "a.safetensors")
    assert ended.code == 2
    assert "boxwright: " in ended.err
    assert not any(part in ended.err for part in ("\x1b[31mred", "\x9b", "\x1b[2J"))


def test_a_real_yolo_lite_is_imported_and_finds_the_dog(boxwright, shared, tmp_path):
    folder, out = shared / "weights", tmp_path / "lite.safetensors"
    files = folder / "yolo-lite-voc-nobn.cfg", folder / "yolo-lite-voc-nobn.weights"
    assert boxwright("weights", "import", *files, "--labels", folder / "voc.names", "--out", out).code == 0
    ended = boxwright("detect", shared / "photos" / "dog.jpg", "--model", out, "--json")
    assert "dog" in {detection["label"] for detection in json.loads(ended.out)["detections"]}


def test_the_first_layers_alone_make_a_stem(boxwright, darknet, tmp_path):
    cfg, weights, _ = darknet
    out = tmp_path / "stem.safetensors"
    ended = boxwright("weights", "import", cfg, weights, "--layers", "4", "--out", out)
    assert ended.code == 0, ended.err
    stem = load_model(out)
    assert len(stem.spec.network) == 4
    assert not stem.spec.is_detector


def test_an_import_never_replaces_what_it_reads(boxwright, darknet):
    cfg, weights, names = darknet
    before = weights.read_bytes()
    for out in (weights, cfg, names):
        ended = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", out)
        assert ended.code == 2
        assert "new model file" in ended.err
    assert weights.read_bytes() == before


def test_a_names_file_without_labels_is_refused(boxwright, darknet, tmp_path):
    cfg, weights, names = darknet
    names.write_text("\n")
    ended = boxwright("weights", "import", cfg, weights, "--labels", names, "--out", tmp_path / "made.safetensors")
    assert ended.code == 2
    assert "the file contains no label" in ended.err
