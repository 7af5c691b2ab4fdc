"""The optimised engine and the unoptimised graph detect the same boxes."""

import numpy as np
import onnxruntime
import pytest

from detector.detector import Detector
from detector.engines import load_engine, split_anchors
from detector.engines.onnxruntime import OnnxEngine
from detector.imaging.image import read_image
from detector.onnx.graph import build_onnx
from detector.onnx.names import INPUT, OUTPUT
from weights.embedded import EVERYDAY, SAMPLE_IMAGE
from weights.formats.darknet.weights import read_darknet
from weights.formats.safetensors import load_model


class UnoptimisedEngine:
    """Runs the graph in onnxruntime without optimisations, in one thread."""

    name = "unoptimised"

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(build_onnx(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.anchors = len(model.spec.anchors)

    def __call__(self, images):
        return split_anchors(self.session.run([OUTPUT], {INPUT: images})[0], self.anchors)


def assert_same_detections(model, path, engine, reference):
    """Compare all boxes with scores above 0.05: scores within 1e-4, corners within 1e-4 of the longer side."""
    image = read_image(path.read_bytes())
    detected, expected = (Detector(model.spec, each).detect(image, score_threshold=0.05) for each in (engine, reference))
    assert len(expected) > 0
    assert detected.class_ids.tolist() == expected.class_ids.tolist()
    np.testing.assert_allclose(detected.scores, expected.scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(detected.boxes, expected.boxes, rtol=0, atol=1e-4 * max(image.shape))


@pytest.mark.parametrize("other", ["unoptimised", "tensorflow"])
def test_the_shipped_model_detects_the_same_boxes(other, tmp_path):
    model = load_model(EVERYDAY)
    reference = UnoptimisedEngine(model) if other == "unoptimised" else load_engine(model, other)
    assert_same_detections(model, SAMPLE_IMAGE, OnnxEngine.of(model, cache_folder=tmp_path), reference)
    assert_same_detections(model, SAMPLE_IMAGE, OnnxEngine.from_cache(tmp_path, len(model.spec.anchors)), reference)


@pytest.mark.parametrize("name", ["yolo-lite-voc-nobn", "yolo-lite-voc-bn"])
def test_darknet_networks_detect_the_same_boxes(name, shared):
    model = read_darknet(*(shared / "weights" / f"{name}.{suffix}" for suffix in ("cfg", "weights")))
    for file_name in ("cat.png", "dog.jpg", "kite.jpg"):
        assert_same_detections(model, shared / "photos" / file_name, OnnxEngine.of(model), UnoptimisedEngine(model))
