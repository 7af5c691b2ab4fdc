"""The model that ships is the one that was made for it, and says what its makers' own program said."""

import json

import numpy as np
import pytest

from detector.detector import Detector
from detector.engines import load_engine
from detector.image import read_image
from detector.network import Conv, Reorg, Route, Shortcut, efficientnet_lite0, yolov2
from detector.shapes import operations, parameters
from weights.embedded import EVERYDAY
from weights.model_file import load_model, read_header


@pytest.fixture(scope="module")
def everyday():
    return load_model(EVERYDAY)


def test_it_is_yolov2_on_efficientnet_lite0(everyday):
    assert everyday.spec.network == yolov2(everyday.spec.labels, stem=efficientnet_lite0(), filters=384)
    assert read_header(EVERYDAY).dtype == "float16"
    assert 14e6 < EVERYDAY.stat().st_size < 16e6


def test_its_card_tells_the_truth(everyday):
    card = EVERYDAY.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{parameters(everyday.spec.network) / 1e6:.1f} M parameters" in card
    assert f"{operations(everyday.spec.network, 288) / 1e9:.2f} billion operations" in card
    assert f"{EVERYDAY.stat().st_size / 1e6:.1f} MB" in card
    assert ", ".join(everyday.spec.labels) in card


def test_its_arrays_are_those_it_was_imported_from(everyday, shared):
    with np.load(shared / "weights" / "everyday.npz") as source:
        assert set(source) == set(everyday.arrays)
        for name, array in everyday.arrays.items():
            np.testing.assert_array_equal(array, source[name].astype(np.float32))


def test_its_layers_are_those_it_was_imported_from(everyday, shared):
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
def test_every_engine_says_what_the_reference_says(everyday, engine, shared, assert_same_boxes):
    detector = Detector(everyday.spec, load_engine(everyday, engine))
    reference = json.loads((shared / "reference" / "everyday.json").read_text())
    assert len(reference) == 7
    for photo in (path for path in (shared / "photos").iterdir() if path.stem in reference):
        found = detector.detect(read_image(photo.read_bytes()), score_threshold=0.045)
        corners = ("xmin", "ymin", "xmax", "ymax")
        ours = [{"label": everyday.spec.labels[d.class_id], "score": d.score, **dict(zip(corners, d.box, strict=True))} for d in found]
        assert_same_boxes(ours, reference[photo.stem], threshold=0.05, score_tolerance=5e-3)
