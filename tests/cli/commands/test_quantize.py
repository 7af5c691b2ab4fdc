"""`boxwright quantize`: the 8-bit model, its provenance, its export, and training from it."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from detector.engines import load_engine
from detector.network.layers import Conv
from weights.embedded import EVERYDAY
from weights.formats.safetensors import load_model, read_header

SAMPLES = Path(__file__).resolve().parents[3] / "docs" / "photos"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
ANNOTATION = f"<annotation><object><name>{{}}</name>{BOX}</object></annotation>"


@pytest.fixture
def dataset(tmp_path):
    """Four images, two of them in the validation set."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name, box in (("cat", ("cat", 1, 1, 438, 257)), ("astronaut", ("person", 1, 47, 391, 512))):
        for copy in (name, f"{name}-again"):
            shutil.copy(SAMPLES / f"{name}.jpg", tmp_path / "data" / "JPEGImages" / f"{copy}.jpg")
        (tmp_path / "data" / "Annotations" / f"{name}.xml").write_text(ANNOTATION.format(*box))
    (tmp_path / "data" / "ImageSets" / "Main" / "val.txt").write_text("cat\nastronaut\n")
    return tmp_path / "data"


def test_a_quantized_model_file_has_its_loss_of_precision_as_provenance(boxwright, dataset, tmp_path):
    out = tmp_path / "small.safetensors"
    result = boxwright("quantize", "everyday", "--calibration", dataset, "--out", out)
    assert result.code == 0, result.err
    header, exact = read_header(out), load_model(EVERYDAY)
    assert (header.name, header.dtype, header.spec) == ("small", "int8", exact.spec)
    assert header.provenance["quantized_from"] == "everyday"
    assert header.provenance["calibration_images"] == "2"
    assert header.provenance["left_in_float32"] == "none"
    for fact in ("ap50_float32", "ap50_int8", "ap50_frequent_float32", "ap50_frequent_int8"):
        assert header.provenance[fact] == "1.0000 on 2 images (data, val)"
        assert f"{fact}: 1.0000" in result.out
    assert out.stat().st_size < 0.3 * sum(array.nbytes for array in exact.arrays.values())
    result = boxwright("evaluate", dataset, "--model", out, "--json")
    assert '"ap50": 1.0' in result.out
    result = boxwright("detect", SAMPLES / "cat.jpg", "--model", out, "--json")
    assert '"label": "cat"' in result.out


@pytest.mark.parametrize(("before", "after", "reported"), [(0.8, 0.7949, True), (0.8, 0.7951, False), (0.8, 0.9, False)])
def test_a_loss_of_half_an_ap_point_is_reported(boxwright, dataset, tmp_path, monkeypatch, before, after, reported):
    measured = iter((before, after, before))  # float32, int8, and bfloat16 if this processor has it
    monkeypatch.setattr(
        "training.evaluation.evaluate.evaluate_detector", lambda *_: SimpleNamespace(ap50=0.5, ap50_frequent=next(measured))
    )
    result = boxwright("quantize", "everyday", "--calibration", dataset, "--out", tmp_path / "small.safetensors")
    assert result.code == 0
    warning = "in int8 everyday loses 0.5 AP points (0.8000 before, 0.7949 after), so '--precision auto' does not use it"
    assert (warning in result.err) == reported
    assert (tmp_path / "small.safetensors").is_file()


def test_images_without_annotations_are_enough(boxwright, tmp_path):
    out = tmp_path / "small.safetensors"
    (tmp_path / "photos").mkdir()
    shutil.copy(SAMPLES / "cat.jpg", tmp_path / "photos")
    result = boxwright("quantize", "everyday", "--calibration", tmp_path / "photos", "--out", out)
    assert result.code == 0, result.err
    assert "ap50" not in result.out
    assert f"AP50 is not measured: {tmp_path / 'photos'} has no image set 'val'." in result.err
    assert "ap50_int8" not in read_header(out).provenance


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised inside Keras
@pytest.mark.parametrize("target", ["darknet", "onnx", "safetensors", "keras"])
def test_every_export_of_a_quantized_model_has_the_same_output(boxwright, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = boxwright("export", "everyday-int8", "--to", target)
    assert result.code == 0, result.err
    assert "Largest difference of the raw output" in result.out


def test_training_starts_from_the_rounded_kernels_in_float32(random_arrays):
    from detector.network.spec import Model, ModelSpec
    from training.config.options import Config
    from training.modeling.transfer import transfer
    from weights.quantization.quantize import quantize_model

    layers = (Conv("a", 8, stride=2), Conv("b", 12, size=1, normalize=False, activation="linear"))
    spec = ModelSpec(("cat",), ((1.0, 1.0), (2.0, 2.0)), layers, 64)
    model = Model("small", spec, random_arrays(layers, 3))
    images = list(np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32))
    quantized = quantize_model(model, images, min_snr_db=0).model
    start = transfer(quantized, ["cat"], spec.anchors, Config())
    assert start.model.quantization is None
    np.testing.assert_array_equal(start.model.arrays["a/kernel"], quantized.arrays["a/kernel"])
    assert load_engine(start.model)(images[0][None]).shape == (1, 32, 32, 2, 6)


def test_a_model_that_cannot_be_quantized_is_reported_in_one_sentence(boxwright, tmp_path):
    images, out = tmp_path / "photos", tmp_path / "small.safetensors"
    images.mkdir()
    result = boxwright("quantize", "everyday", "--calibration", images, "--out", out)
    assert (result.code, "there are no training images for calibration" in result.err) == (2, True)
    shutil.copy(SAMPLES / "cat.jpg", images)
    result = boxwright("quantize", "everyday-int8", "--calibration", images, "--out", out)
    assert (result.code, "is already in 8 bits" in result.err) == (2, True)
    result = boxwright("quantize", "everyday", "--calibration", images, "--out", tmp_path / "small.onnx")
    assert result.code == 2
    assert "is not the name of a model file" in result.err
    assert not out.exists()
