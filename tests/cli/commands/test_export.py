"""`boxwright export`: the files it writes, and the difference it prints."""

import re

import pytest

from weights.formats.export import EXPORTERS
from weights.formats.safetensors import save_model

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)  # raised inside TensorFlow

PARITY = re.compile(
    r"Wrote (.*)\n"
    r"Largest difference of the raw output on a photo of a cat: (\S+) \(largest value (\S+)\)\.\n"
    r"(This model expects .*\n)?"
)


@pytest.fixture
def model_folder(tmp_path, tiny_model, monkeypatch):
    """The current folder, with a model file."""
    save_model(tiny_model, tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", [target for target in EXPORTERS if target != "safetensors"])
def test_every_export_prints_the_largest_difference_on_an_image(boxwright, model_folder, target):
    result = boxwright("export", "mine.safetensors", "--to", target)
    assert result.code == 0, result.err
    assert "delegate" not in result.err
    written = [f"mine{suffix}" for suffix in EXPORTERS[target].suffix]
    assert all((model_folder / name).exists() for name in written)
    report = PARITY.fullmatch(result.out)
    assert set(report[1].split(", ")) == set(written)
    assert 0 <= float(report[2]) <= 1e-3
    assert float(report[3]) > 0.5
    assert bool(report[4]) == (target == "darknet")
    assert result.err.endswith("Next: boxwright weights info mine.safetensors\n")


def test_an_export_to_safetensors_needs_another_name(boxwright, model_folder, make_image):
    before = (model_folder / "mine.safetensors").read_bytes()
    assert boxwright("export", "mine.safetensors", "--to", "safetensors").code == 2
    result = boxwright("export", "mine.safetensors", "--to", "safetensors", "--out", "copy.safetensors", "--photo", make_image("a.png"))
    assert f"Largest difference of the raw output on {model_folder / 'a.png'}: 0.0e+00" in result.out
    assert result.err.endswith("Next: boxwright detect IMAGE --model copy.safetensors\n")
    assert (model_folder / "copy.safetensors").read_bytes() == before == (model_folder / "mine.safetensors").read_bytes()


@pytest.mark.usefixtures("model_folder")
def test_a_wrong_name_is_reported_before_tensorflow_starts(boxwright):
    result = boxwright("export", "mine.safetensors", "--to", "tflite", "--out", "exported")
    assert (result.code, result.err) == (2, "boxwright: exported: this format requires the name NAME.tflite.\n")


def test_nothing_is_written_if_the_image_is_invalid(boxwright, model_folder):
    (model_folder / "photo.jpg").write_text("no image")
    result = boxwright("export", "mine.safetensors", "--to", "onnx", "--photo", "photo.jpg")
    assert result.code == 2
    assert "the image format is unknown" in result.err
    assert not (model_folder / "mine.onnx").exists()


@pytest.mark.usefixtures("model_folder")
def test_an_export_to_darknet_warns_about_other_image_preparation(boxwright):
    assert "A .cfg file cannot express this" in boxwright("export", "everyday", "--to", "darknet").out
    assert "This model expects" not in boxwright("export", "mine.safetensors", "--to", "onnx").out


@pytest.mark.usefixtures("model_folder")
def test_an_export_has_the_given_input_size(boxwright):
    import onnx

    assert boxwright("export", "mine.safetensors", "--to", "onnx", "--input-size", "96").code == 0
    shape = onnx.load("mine.onnx").graph.input[0].type.tensor_type.shape
    assert [dimension.dim_value for dimension in shape.dim] == [0, 96, 96, 3]
    result = boxwright("export", "mine.safetensors", "--to", "onnx", "--input-size", "100", "--force")
    assert (result.code, "input size 100: this network needs a multiple of 32" in result.err) == (2, True)
