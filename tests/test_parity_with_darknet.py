"""Darknet itself is the judge: its boxes on seven photos, met by both engines from its own files."""

import json

import pytest

from detector.detector import Detector
from detector.engines import load_engine
from detector.imaging.image import read_image
from weights.formats.darknet.weights import read_darknet, read_labels

NAMES = ("yolo-lite-voc-nobn", "yolo-lite-voc-bn")
PHOTOS = ("cat.png", "dog.jpg", "eagle.jpg", "giraffe.jpg", "horses.jpg", "kite.jpg", "person.jpg")


@pytest.fixture(scope="module", params=[(name, engine) for name in NAMES for engine in ("onnxruntime", "tensorflow")], ids="-".join)
def judged(request, shared):
    """A detector and Darknet's answers."""
    name, engine = request.param
    weights = shared / "weights"
    model = read_darknet(weights / f"{name}.cfg", weights / f"{name}.weights", labels=read_labels(weights / "voc.names"))
    reference = json.loads((shared / "reference" / f"darknet-{name}.json").read_text())
    return Detector(model.spec, load_engine(model, engine)), reference


def as_boxes(detections, labels):
    corners = ("xmin", "ymin", "xmax", "ymax")
    return [{"label": labels[d.class_id], "score": d.score, **dict(zip(corners, d.box, strict=True))} for d in detections]


@pytest.mark.parametrize("photo", PHOTOS)
def test_every_box_is_darknets_and_none_besides(judged, photo, shared, assert_same_boxes):
    detector, reference = judged
    image = read_image((shared / "photos" / photo).read_bytes())
    expected = reference[photo.partition(".")[0]]
    found = detector.detect(image, score_threshold=0.2)
    assert_same_boxes(as_boxes(found, detector.spec.labels), expected, threshold=0.25)
    assert photo == "eagle.jpg" or len(found) > 0
