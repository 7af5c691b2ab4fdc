"""Parity with Darknet over HTTP: the same boxes with a score of at least 0.25."""

import json

import pytest

from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings
from weights.formats.darknet.weights import read_darknet

MODELS = ("yolo-lite-voc-nobn", "yolo-lite-voc-bn")
FILE_NAMES = ("cat.png", "dog.jpg", "eagle.jpg", "giraffe.jpg", "horses.jpg", "kite.jpg", "person.jpg")


@pytest.fixture(scope="module")
def app(shared):
    folder = shared / "weights"
    labels = (folder / "voc.names").read_text(encoding="utf-8").split()
    models = [read_darknet(folder / f"{name}.cfg", folder / f"{name}.weights", labels=labels, name=name) for name in MODELS]
    return create_app(Registry([LoadedModel.of(model, OnnxEngine.of(model)) for model in models]), Settings())


@pytest.mark.parametrize("name", FILE_NAMES)
@pytest.mark.parametrize("model", MODELS)
def test_service_returns_the_boxes_of_darknet(app, send_request, shared, assert_same_boxes, model, name):
    reference = json.loads((shared / "reference" / f"darknet-{model}.json").read_text(encoding="utf-8"))
    response = send_request(app, "POST", "/detect", params={"model": model}, content=(shared / "photos" / name).read_bytes())
    boxes = [{"label": detection["label"], "score": detection["score"], **detection["box"]} for detection in response.json()["detections"]]
    assert_same_boxes(boxes, reference[name.partition(".")[0]])


def test_service_detects_the_dog_in_the_dog_image(app, send_request, shared):
    response = send_request(app, "POST", "/detect", content=(shared / "photos" / "dog.jpg").read_bytes()).json()
    assert response["image"] == {"width": 768, "height": 576}
    assert "dog" in [detection["label"] for detection in response["detections"]]
