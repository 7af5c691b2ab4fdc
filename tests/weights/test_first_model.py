"""The first shipped model, of 11 classes, still gives the reference detections, and model files of earlier versions still load."""

import json
from pathlib import Path

import numpy as np
import pytest

from detector.detector import Detector
from detector.engines import load_engine
from detector.imaging.image import read_image
from detector.network.architectures import efficientnet_lite0, yolov2
from detector.network.spec import Model, ModelSpec
from weights.formats.safetensors import load_model, save_model


@pytest.fixture(scope="module")
def first_model(shared):
    description = json.loads((shared / "weights" / "everyday.json").read_text())
    labels, anchors = tuple(description["labels"]), tuple(map(tuple, description["anchors"]))
    network = yolov2(labels, backbone=efficientnet_lite0(), filters=384)
    scaling = {"pixel_scale": description["pixel_scale"], "pixel_offset": description["pixel_offset"]}
    spec = ModelSpec(labels, anchors, network, description["input_size"], fit=description["fit"], resample="antialiased", **scaling)
    with np.load(shared / "weights" / "everyday.npz") as source:
        return Model("first", spec, {name: source[name].astype(np.float32) for name in source})


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorflow"])
def test_every_engine_gives_the_reference_detections(first_model, engine, shared, assert_same_boxes):
    detector = Detector(first_model.spec, load_engine(first_model, engine))
    reference = json.loads((shared / "reference" / "everyday.json").read_text())
    assert len(reference) == 7
    for path in (path for path in (shared / "photos").iterdir() if path.stem in reference):
        detections = detector.detect(read_image(path.read_bytes()), score_threshold=0.045)
        edges = ("xmin", "ymin", "xmax", "ymax")
        ours = [
            {"label": first_model.spec.labels[each.class_id], "score": each.score, **dict(zip(edges, each.box, strict=True))}
            for each in detections
        ]
        assert_same_boxes(ours, reference[path.stem], threshold=0.05, score_tolerance=5e-3)


def test_a_model_with_a_yolov2_head_is_the_same_after_saving_and_loading(first_model, tmp_path: Path):
    save_model(first_model, tmp_path / "first.safetensors", dtype="float16")
    loaded = load_model(tmp_path / "first.safetensors")
    assert loaded.spec == first_model.spec
    for name, array in first_model.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)


def test_a_model_file_of_an_earlier_version_loads_and_detects(shared):
    model = load_model(shared / "weights" / "everyday20-start.safetensors")
    detector = Detector(model.spec, load_engine(model))
    detections = detector.detect(read_image((shared / "photos" / "dog.jpg").read_bytes()), score_threshold=0.5)
    assert "dog" in {model.spec.labels[each.class_id] for each in detections}
