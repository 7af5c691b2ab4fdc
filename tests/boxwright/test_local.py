"""`boxwright.load(...).detect(...)`: every kind of image, and the same results as the command line."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import boxwright
from boxwright.images import to_bytes_or_array
from cli.detect.backends import DetectionOptions, LocalBackend
from detector.errors import DamagedImage, NotAnImage
from detector.imaging.image import read_image
from weights.engines.options import EngineOptions

ROOT = Path(__file__).resolve().parents[2]
CAT = ROOT / "docs" / "photos" / "cat.jpg"
ASTRONAUT = ROOT / "docs" / "photos" / "astronaut.jpg"


@pytest.fixture(scope="module")
def model():
    return boxwright.load("everyday")


def test_the_example_of_the_documentation_finds_the_cat(model):
    result = model.detect(CAT)
    (detection,) = result
    label, score, box = detection
    assert (detection.label, detection.score, detection.box) == (label, score, box)
    assert label == "cat"
    assert 0.5 < score <= 1
    assert box == pytest.approx((15, 13, 405, 295), abs=15)  # 8-bit inference, the default with VNNI, moves the edges
    assert (result.model, result.width, result.height) == ("everyday", 451, 300)


def test_results_are_those_of_the_command_line(model):
    backend = LocalBackend.load("everyday", EngineOptions(precision="auto"), DetectionOptions(0.1, 0.45, ()))
    backend.engine_writer.join()
    for path in (CAT, ASTRONAUT):
        expected = {name: value for name, value in backend.detect(path).to_json().items() if name != "photo"}
        assert model.detect(path, confidence=0.1).to_dict() == expected


def test_every_kind_of_encoded_image_gives_the_same_result(model):
    expected = model.detect(str(CAT)).to_dict()
    content = CAT.read_bytes()
    with CAT.open("rb") as file:
        for source in (CAT, content, bytearray(content), io.BytesIO(content), file):
            assert model.detect(source).to_dict() == expected


def test_decoded_images_give_the_same_result_as_a_lossless_file(model):
    array = read_image(CAT.read_bytes())
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    expected = model.detect(file.getvalue()).to_dict()
    assert model.detect(array).to_dict() == model.detect(Image.fromarray(array)).to_dict() == expected


def pillow_image(mode):
    """Return an image of 16 x 16 pixels with values over the whole range of the mode, and with transparent pixels."""
    values = np.arange(256).reshape(16, 16)
    if mode == "I;16":
        return Image.fromarray((values * 257).astype(np.uint16))
    grey = Image.fromarray(values.astype(np.uint8))
    return Image.merge("LA", (grey, grey)).convert(mode)


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "LA", "L"])
def test_a_pil_image_is_converted_as_its_file_is(mode):
    file = io.BytesIO()
    pillow_image(mode).save(file, "PNG")
    expected = read_image(file.getvalue())
    np.testing.assert_array_equal(to_bytes_or_array(Image.open(file)), expected)
    assert expected.max() == 255
    assert len(np.unique(expected)) > 50


def test_the_exif_orientation_of_a_pil_image_is_applied(model):
    file = io.BytesIO()
    with Image.open(CAT) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # rotated by 90 degrees
        image.save(file, "PNG", exif=exif)
    with Image.open(file) as rotated:
        result = model.detect(rotated)
    assert (result.width, result.height) == (300, 451)
    assert result.to_dict() == model.detect(file.getvalue()).to_dict()


def test_a_list_of_images_gives_a_list_of_results(model):
    results = model.detect([CAT, ASTRONAUT.read_bytes()])
    assert [[detection.label for detection in result] for result in results] == [["cat"], ["person"]]
    assert model.detect([]) == []


def test_classes_and_thresholds_select_detections(model):
    assert len(model.detect(CAT, classes=["dog"])) == 0
    assert len(model.detect(CAT, confidence=0.999)) == 0
    assert len(model.detect(CAT, confidence=0.001)) > 1
    assert set(model.labels) >= {"cat", "dog"}


def test_one_label_may_be_a_string(model):
    assert len(model.detect(CAT, classes="dog")) == 0
    assert [detection.label for detection in model.detect(CAT, classes="cat")] == ["cat"]


def test_auto_is_the_confidence_that_the_model_suggests_for_each_class(model, tmp_path):
    from weights.formats.provenance import confidence_text
    from weights.formats.safetensors import save_model
    from weights.hub.resolve import resolve_model

    everyday = resolve_model("everyday")
    provenance = {**everyday.provenance, "confidence": confidence_text({"cat": 0.999})}
    save_model(replace(everyday, provenance=provenance), tmp_path / "cautious.safetensors")
    cautious = boxwright.load(tmp_path / "cautious.safetensors")
    assert len(cautious.detect(CAT, confidence="auto")) == 0
    assert [detection.label for detection in cautious.detect(ASTRONAUT, confidence="auto")] == ["person"]  # the default of 0.25
    assert model.detect(CAT, confidence="auto").to_dict() == model.detect(CAT).to_dict()


def test_drawing_returns_a_copy_with_boxes():
    result = boxwright.load("everyday", precision="float32").detect(CAT)
    image = result.draw()
    assert image.size == (result.width, result.height)
    assert image.tobytes() != Image.fromarray(read_image(CAT.read_bytes())).tobytes()
    with Image.open(ROOT / "docs" / "photos" / "cat.boxes.jpg") as expected:
        difference = np.asarray(expected, np.int16) - np.asarray(image)
    assert np.abs(difference).mean() < 3  # a JPEG file of the same drawing


def test_to_dict_can_be_serialised_as_json(model):
    record = json.loads(json.dumps(model.detect(CAT).to_dict()))
    assert record["detections"][0]["box"].keys() == {"xmin", "ymin", "xmax", "ymax"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "empty"),
        (b"text", "image"),
        (3, "got int"),
        (np.zeros((4, 4), np.uint8), r"\(height, width, 3\) uint8 RGB, got \(4, 4\) uint8"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (io.StringIO("text"), "binary mode"),
        ("https://example.com/dog.jpg", "is a URL, and URLs are not downloaded"),
        ("data:image/jpeg;base64,AAAA", "is a data URL"),
        (Image.new("I", (9, 9), 40_000), "pixels of 8 or 16 bits, got mode I with 9 x 9 pixels"),
        (Image.new("F", (9, 9), 0.5), "got mode F"),
        (Image.new("La", (9, 9)), "got mode La"),
        (Image.new("RGB", (0, 9)), "with 0 x 9 pixels"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_a_source_that_is_not_an_image_is_an_error(model, source, message):
    with pytest.raises(boxwright.BoxwrightError, match=message):
        model.detect(source)


def test_the_error_of_a_damaged_image_names_its_file(model, tmp_path):
    damaged, text = tmp_path / "damaged.jpg", tmp_path / "text.jpg"
    damaged.write_bytes(CAT.read_bytes()[:3000])
    text.write_bytes(b"no image")
    for path, kind in ((damaged, DamagedImage), (text, NotAnImage)):
        for source in (path, str(path), [CAT, path]):
            with pytest.raises(kind, match=f"^{re.escape(str(path))}: the "):
                model.detect(source)
    with pytest.raises(DamagedImage, match=r"^the JPEG"):
        model.detect(damaged.read_bytes())


@pytest.mark.parametrize("confidence", ["high", "0.5", None])
def test_a_confidence_that_is_not_a_number_is_an_error(model, confidence):
    with pytest.raises(boxwright.BoxwrightError, match=f"must be a number from 0 to 1, or 'auto', got {confidence!r}"):
        model.detect(CAT, confidence=confidence)


def test_unknown_models_and_labels_are_errors(model):
    with pytest.raises(boxwright.BoxwrightError, match="unknown-model"):
        boxwright.load("unknown-model")
    with pytest.raises(boxwright.BoxwrightError, match="unicorn"):
        model.detect(CAT, classes=["unicorn"])
    with pytest.raises(boxwright.BoxwrightError, match=r"no class 'dgo'\. Did you mean 'dog'\?"):
        model.detect(CAT, classes="dgo")
    with pytest.raises(boxwright.BoxwrightError, match=r"confidence threshold must be a number from 0 to 1, got 2\."):
        model.detect(CAT, confidence=2)
    with pytest.raises(boxwright.BoxwrightError, match=r"confidence threshold must be a number from 0 to 1, or 'auto', got 'high'\."):
        model.detect(CAT, confidence="high")


@pytest.mark.parametrize("option", ["engine", "device", "precision"])
def test_an_unknown_engine_device_or_precision_is_an_error_that_lists_the_names(option):
    with pytest.raises(boxwright.BoxwrightError, match=rf"unknown {option} 'aut'\. Did you mean 'auto'\? Choose one of auto, "):
        boxwright.load("everyday", **{option: "aut"})


def test_the_representation_of_a_model_is_short(model):
    assert repr(model) == "Detector(name='everyday')"


def test_a_model_file_is_loaded_by_its_path(tiny_model, tmp_path):
    from weights.formats.safetensors import save_model

    save_model(tiny_model, tmp_path / "tiny.safetensors")
    assert boxwright.load(tmp_path / "tiny.safetensors").labels == ("cat", "dog", "person")


def test_importing_the_package_imports_no_dependency_and_detecting_imports_no_tensorflow():
    script = f"""
import sys, boxwright
assert not {{"numpy", "PIL", "onnxruntime", "pydantic", "requests"}} & set(sys.modules)
assert sorted(boxwright.__all__) == dir(boxwright)
assert len(boxwright.load().detect({str(CAT)!r})) == 1
assert not {{"tensorflow", "keras", "fastapi", "requests", "training", "cli"}} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_public_name_can_be_imported():
    for name in boxwright.__all__:
        assert getattr(boxwright, name) is not None
    with pytest.raises(AttributeError):
        _ = boxwright.unknown


def test_load_has_options_for_engine_precision_and_input_size():
    exact = boxwright.load("everyday", engine="onnxruntime", device="cpu", precision="float32", input_size=320)
    assert (exact.engine, exact.precision, exact.core.spec.input_size) == ("onnxruntime", "float32", 320)
    assert {detection.label for detection in exact.detect(CAT)} == {"cat"}
    with pytest.raises(boxwright.BoxwrightError, match="input size 300"):
        boxwright.load("everyday", input_size=300)
