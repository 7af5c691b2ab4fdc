"""onnxruntime and TensorFlow detect Darknet's boxes on seven images, with models read from Darknet's files."""

import json

import pytest

from detector.detector import Detector
from detector.engines import load_engine
from detector.imaging.image import read_image
from weights.formats.darknet.weights import read_darknet, read_labels

NAMES = ("yolo-lite-voc-nobn", "yolo-lite-voc-bn")
FILE_NAMES = ("cat.png", "dog.jpg", "eagle.jpg", "giraffe.jpg", "horses.jpg", "kite.jpg", "person.jpg")


@pytest.fixture(scope="module", params=[(name, engine) for name in NAMES for engine in ("onnxruntime", "tensorflow")], ids="-".join)
def detector_and_reference(request, shared):
    """A detector and Darknet's boxes."""
    name, engine = request.param
    weights = shared / "weights"
    model = read_darknet(weights / f"{name}.cfg", weights / f"{name}.weights", labels=read_labels(weights / "voc.names"))
    reference = json.loads((shared / "reference" / f"darknet-{name}.json").read_text())
    return Detector(model.spec, load_engine(model, engine)), reference


def as_boxes(detections, labels):
    edges = ("xmin", "ymin", "xmax", "ymax")
    return [{"label": labels[d.class_id], "score": d.score, **dict(zip(edges, d.box, strict=True))} for d in detections]


@pytest.mark.parametrize("file_name", FILE_NAMES)
def test_the_boxes_equal_darknets(detector_and_reference, file_name, shared, assert_same_boxes):
    detector, reference = detector_and_reference
    image = read_image((shared / "photos" / file_name).read_bytes())
    expected = reference[file_name.partition(".")[0]]
    detections = detector.detect(image, score_threshold=0.2)
    assert_same_boxes(as_boxes(detections, detector.spec.labels), expected, threshold=0.25)
    assert file_name == "eagle.jpg" or len(detections) > 0
