"""What makes the engine quick does not make it say anything else."""

import numpy as np
import onnxruntime
import pytest

from detector.detector import Detector
from detector.engines import load_engine, split_anchors
from detector.engines.onnxruntime import OnnxEngine
from detector.imaging.image import read_image
from detector.onnx.graph import build_onnx
from detector.onnx.names import INPUT, OUTPUT
from weights.embedded import EVERYDAY, SAMPLE_PHOTO
from weights.formats.darknet.weights import read_darknet
from weights.formats.safetensors import load_model


class Plain:
    """The graph in onnxruntime as it is written: nothing fused, nothing laid out anew, one thread."""

    name = "plain"

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(build_onnx(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.anchors = len(model.spec.anchors)

    def __call__(self, images):
        return split_anchors(self.session.run([OUTPUT], {INPUT: images})[0], self.anchors)


def agree(model, photo, tuned, plain):
    """Scores within 1e-4, corners within 1e-4 of the photo's longer side, all boxes down to a score of 0.05."""
    image = read_image(photo.read_bytes())
    ours, theirs = (Detector(model.spec, engine).detect(image, score_threshold=0.05) for engine in (tuned, plain))
    assert len(theirs) > 0
    assert ours.class_ids.tolist() == theirs.class_ids.tolist()
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=0, atol=1e-4 * max(image.shape))


@pytest.mark.parametrize("other", ["plain", "tensorflow"])
def test_the_shipped_model_tuned_and_plain_says_the_same_boxes(other, tmp_path):
    model = load_model(EVERYDAY)
    plain = Plain(model) if other == "plain" else load_engine(model, other)
    agree(model, SAMPLE_PHOTO, OnnxEngine.of(model, keep=tmp_path), plain)
    agree(model, SAMPLE_PHOTO, OnnxEngine.kept(tmp_path, len(model.spec.anchors)), plain)


@pytest.mark.parametrize("name", ["yolo-lite-voc-nobn", "yolo-lite-voc-bn"])
def test_darknets_networks_tuned_and_plain_say_the_same_boxes(name, shared):
    model = read_darknet(*(shared / "weights" / f"{name}.{suffix}" for suffix in ("cfg", "weights")))
    for photo in ("cat.png", "dog.jpg", "kite.jpg"):
        agree(model, shared / "photos" / photo, OnnxEngine.of(model), Plain(model))
