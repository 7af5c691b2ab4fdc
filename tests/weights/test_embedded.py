"""The shipped models, their model cards, and their detections in well-known images."""

import numpy as np
import pytest

from detector.boxes.geometry import box_iou
from detector.detector import Detector
from detector.engines import load_engine
from detector.imaging.image import read_image
from detector.network.architectures import Backbone, efficientnet_lite0, upsampling_head
from detector.network.layers import Conv
from detector.network.shapes import operations, parameters
from weights.embedded import EVERYDAY, EVERYDAY_INT8
from weights.formats.safetensors import load_model, read_header


@pytest.fixture(scope="module")
def everyday():
    return load_model(EVERYDAY)


def test_the_shipped_model_is_efficientnet_lite0_with_a_head_of_stride_16(everyday):
    backbone = Backbone(efficientnet_lite0().layers, "block12_expand")
    assert everyday.spec.network == upsampling_head(everyday.spec.labels, backbone=backbone, anchors=6, filters=256)
    assert everyday.spec.stride == 16
    assert read_header(EVERYDAY).dtype == "float16"
    assert EVERYDAY.stat().st_size < 20e6


def test_the_shipped_model_knows_the_classes_of_pascal_voc(everyday, shared):
    assert set(everyday.spec.labels) == set((shared / "weights" / "voc.names").read_text().split())


def test_the_model_card_matches_the_model(everyday):
    card = EVERYDAY.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{parameters(everyday.spec.network) / 1e6:.1f} M parameters" in card
    assert f"{operations(everyday.spec.network, everyday.spec.input_size) / 1e9:.2f} billion operations" in card
    assert f"{EVERYDAY.stat().st_size / 1e6:.1f} MB" in card
    assert ", ".join(everyday.spec.labels) in card


SAMPLES = {
    "cat.png": {"cat"},
    "dog.jpg": {"dog", "bicycle", "car"},
    "eagle.jpg": {"bird"},
    "horses.jpg": {"horse"},
    "person.jpg": {"person"},
}


@pytest.mark.parametrize(("file_name", "labels"), SAMPLES.items())
def test_the_shipped_model_detects_the_objects_of_well_known_images(everyday, shared, file_name, labels):
    detector = Detector(everyday.spec, load_engine(everyday))
    detections = detector.detect(read_image((shared / "photos" / file_name).read_bytes()), score_threshold=0.25)
    assert labels <= {everyday.spec.labels[each.class_id] for each in detections}


def test_the_8_bit_model_is_the_same_network_and_records_its_loss_of_accuracy(everyday):
    quantized = load_model(EVERYDAY_INT8)
    assert quantized.spec == everyday.spec
    assert quantized.name == "everyday-int8"
    assert quantized.quantization is not None
    assert len(quantized.quantization.layers) == sum(isinstance(layer, Conv) for layer in quantized.spec.network)
    before, after = (float(quantized.provenance[fact].partition(" ")[0]) for fact in ("ap50_float32", "ap50_int8"))
    assert before - after < 0.005
    card = EVERYDAY_INT8.with_suffix(".md").read_text(encoding="utf-8")
    for fact in (f"{before:.4f}", f"{after:.4f}", f"{EVERYDAY_INT8.stat().st_size / 1e6:.1f} MB"):
        assert fact in card


def test_the_8_bit_model_detects_the_same_objects(everyday, shared):
    quantized = load_model(EVERYDAY_INT8)
    detectors = [Detector(model.spec, load_engine(model)) for model in (everyday, quantized)]
    compared = 0
    for file_name in ("cat.png", "dog.jpg", "horses.jpg", "person.jpg"):
        image = read_image((shared / "photos" / file_name).read_bytes())
        exact, detections = (detector.detect(image, score_threshold=0.1) for detector in detectors)
        for confident in (each for each in exact if each.score > 0.5):
            matches = [each for each in detections if each.class_id == confident.class_id and abs(each.score - confident.score) < 0.15]
            assert max(box_iou(np.array([confident.box], np.float32), np.array([each.box], np.float32))[0, 0] for each in matches) > 0.7
            compared += 1
    assert compared >= 4
