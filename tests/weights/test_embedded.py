"""The shipped models equal their originals and give the reference detections."""

import json

import numpy as np
import pytest

from detector.boxes import box_iou
from detector.detector import Detector
from detector.engines import load_engine
from detector.imaging.image import read_image
from detector.network import Conv, Reorg, Route, Shortcut, efficientnet_lite0, yolov2
from detector.shapes import operations, parameters
from weights.embedded import EVERYDAY, EVERYDAY_INT8
from weights.formats.safetensors import load_model, read_header


@pytest.fixture(scope="module")
def everyday():
    return load_model(EVERYDAY)


def test_the_shipped_model_is_yolov2_on_efficientnet_lite0(everyday):
    assert everyday.spec.network == yolov2(everyday.spec.labels, backbone=efficientnet_lite0(), filters=384)
    assert read_header(EVERYDAY).dtype == "float16"
    assert 14e6 < EVERYDAY.stat().st_size < 16e6


def test_the_model_card_matches_the_model(everyday):
    card = EVERYDAY.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{parameters(everyday.spec.network) / 1e6:.1f} M parameters" in card
    assert f"{operations(everyday.spec.network, 288) / 1e9:.2f} billion operations" in card
    assert f"{EVERYDAY.stat().st_size / 1e6:.1f} MB" in card
    assert ", ".join(everyday.spec.labels) in card


def test_the_arrays_equal_those_of_the_original(everyday, shared):
    with np.load(shared / "weights" / "everyday.npz") as source:
        assert set(source) == set(everyday.arrays)
        for name, array in everyday.arrays.items():
            np.testing.assert_array_equal(array, source[name].astype(np.float32))


def test_the_layers_equal_those_of_the_original(everyday, shared):
    source = json.loads((shared / "weights" / "everyday.json").read_text())
    facts = {"labels": tuple, "input_size": int, "fit": str, "pixel_scale": float, "pixel_offset": float}
    for name, kind in facts.items():
        assert getattr(everyday.spec, name) == kind(source[name])
    np.testing.assert_allclose(everyday.spec.anchors, source["anchors"])
    for layer, facts in zip(everyday.spec.network, source["layers"], strict=True):
        assert layer.name == facts["name"]
        match layer:
            case Conv():
                for fact in ("filters", "size", "stride", "groups", "normalize", "activation"):
                    assert getattr(layer, fact) == facts[fact]
                assert not layer.normalize or layer.epsilon == facts["epsilon"]
            case Reorg():
                assert (layer.stride, layer.order) == (facts["stride"], facts["order"])
            case Route():
                assert list(layer.layers) == facts["layers"]
            case Shortcut():
                assert layer.source == facts["from"]


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorflow"])
def test_every_engine_gives_the_reference_detections(everyday, engine, shared, assert_same_boxes):
    detector = Detector(everyday.spec, load_engine(everyday, engine))
    reference = json.loads((shared / "reference" / "everyday.json").read_text())
    assert len(reference) == 7
    for photo in (path for path in (shared / "photos").iterdir() if path.stem in reference):
        found = detector.detect(read_image(photo.read_bytes()), score_threshold=0.045)
        corners = ("xmin", "ymin", "xmax", "ymax")
        ours = [{"label": everyday.spec.labels[d.class_id], "score": d.score, **dict(zip(corners, d.box, strict=True))} for d in found]
        assert_same_boxes(ours, reference[photo.stem], threshold=0.05, score_tolerance=5e-3)


def test_the_8_bit_model_is_the_same_network_and_records_its_loss_of_accuracy(everyday):
    small = load_model(EVERYDAY_INT8)
    assert small.spec == everyday.spec
    assert small.name == "everyday-int8"
    assert small.quantization is not None
    assert len(small.quantization.layers) == sum(isinstance(layer, Conv) for layer in small.spec.network)
    before, after = (float(small.provenance[fact].partition(" ")[0]) for fact in ("ap50_before", "ap50_after"))
    assert before - after < 0.005
    card = EVERYDAY_INT8.with_suffix(".md").read_text(encoding="utf-8")
    for fact in (f"{before:.4f}", f"{after:.4f}", f"{EVERYDAY_INT8.stat().st_size / 1e6:.1f} MB"):
        assert fact in card


def test_the_8_bit_model_finds_the_same_objects(everyday, shared):
    small = load_model(EVERYDAY_INT8)
    detectors = [Detector(model.spec, load_engine(model)) for model in (everyday, small)]
    compared = 0
    for photo in ("cat.png", "dog.jpg", "horses.jpg", "person.jpg"):
        image = read_image((shared / "photos" / photo).read_bytes())
        exact, found = (detector.detect(image, score_threshold=0.1) for detector in detectors)
        for confident in (each for each in exact if each.score > 0.5):
            matches = [each for each in found if each.class_id == confident.class_id and abs(each.score - confident.score) < 0.15]
            assert max(box_iou(np.array([confident.box], np.float32), np.array([each.box], np.float32))[0, 0] for each in matches) > 0.7
            compared += 1
    assert compared >= 4
