"""Agreement with tensornets itself: output and boxes of the full YOLOv2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.boxes.geometry import box_iou
from detector.boxes.grid import decode
from detector.detector import Detector
from detector.imaging.image import read_image
from detector.network.spec import Model
from tests.weights.formats.tensornets.networks import VOC, assert_close, random_images, with_confident_outputs
from tests.weights.formats.tensornets.tensornets_files import write_tensornets
from weights.engines.factory import build_engine
from weights.hub.catalogue import entry_of

ROOT = Path(__file__).resolve().parents[4]
THRESHOLD, OVERLAP = 0.1, 0.4  # the defaults of get_boxes
pytestmark = pytest.mark.slow  # the full YOLOv2 in three engines


@pytest.fixture(scope="module")
def tensornets_engine(model):
    return build_engine(model, "tensornets")


@pytest.fixture(scope="module")
def onnx_engine(model):
    return build_engine(model, "onnxruntime")


def test_the_full_yolov2_gives_the_same_output_in_tensornets_and_in_our_engines(model, tensornets_engine, onnx_engine):
    images = random_images(416).astype(np.float32)
    logits = tensornets_engine(images)
    assert logits.shape == (2, 13, 13, 5, 25)
    assert_close(logits, onnx_engine(images))
    assert_close(logits, build_engine(model, "tensorflow")(images))


def test_a_batch_gives_the_same_output_as_single_images(tensornets_engine):
    images = random_images(416, count=3).astype(np.float32)
    np.testing.assert_allclose(tensornets_engine(images), np.concatenate([tensornets_engine(image[None]) for image in images]), atol=1e-4)


def test_the_graph_returns_the_arrays_that_were_assigned(model, tensornets_engine):
    read = tensornets_engine.graph.model("read")
    assert read.spec == model.spec
    assert set(read.arrays) == set(model.arrays)
    for name, array in model.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)


def tensornets_boxes(tensornets_engine, logits, height, width):
    """Return [(label, xmin, ymin, xmax, ymax, score)] of the first image, from `model.get_boxes`."""
    flat = logits.reshape(len(logits), 13, 13, 125)
    boxes_by_label = tensornets_engine.graph.output.get_boxes(flat, (height, width), threshold=THRESHOLD)
    return [(VOC.labels[label], *box) for label, boxes in enumerate(boxes_by_label) for box in boxes.tolist()]


def our_boxes(detector, image):
    """Return our boxes in the same form. tensornets reports each box once, with its best label, so equal boxes count once."""
    detections = detector.detect(image, score_threshold=THRESHOLD, iou_threshold=OVERLAP)
    unique = {}
    for detection in detections:
        unique.setdefault(detection.box, (VOC.labels[detection.class_id], *detection.box, detection.score))
    return list(unique.values())


def assert_same(boxes, reference):
    assert len(boxes) == len(reference)
    left = list(reference)
    for label, *corners, score in boxes:
        matches = [
            box for box in left if box[0] == label and np.abs(np.subtract(corners, box[1:5])).max() <= 1 and abs(score - box[5]) <= 1e-3
        ]
        assert matches, f"{label} {corners} {score} has no counterpart"
        left.remove(matches[0])


@pytest.fixture(scope="module")
def detector(onnx_engine):
    return Detector(VOC, onnx_engine)


def test_our_boxes_equal_those_of_get_boxes(detector, tensornets_engine):
    for image in random_images(416, count=4):
        reference = tensornets_boxes(tensornets_engine, tensornets_engine(image[None].astype(np.float32)), 416, 416)
        assert len(reference) > 24
        assert_same(our_boxes(detector, image), reference)
        assert len(detector.detect(image, score_threshold=THRESHOLD, iou_threshold=1)) > len(reference), "some boxes were suppressed"


def test_the_readme_example_of_tensornets_gives_our_boxes(shared, arrays, model, tensornets_engine):
    cv2 = pytest.importorskip("cv2", reason="tensornets resizes images with OpenCV")
    sparse, graph = Model("sparse", VOC, with_confident_outputs(arrays, -2.2)), tensornets_engine.graph  # small boxes that hardly overlap
    detector = Detector(VOC, build_engine(sparse))
    graph.assign(sparse.arrays)
    for name in ("cat.png", "dog.jpg", "kite.jpg"):
        path = shared / "photos" / name
        image = cv2.imread(str(path))[None].astype(
            np.float32
        )  # as the evaluation of tensornets reads images; its `load_img` would swap the colours twice
        output = graph.session.run(graph.output, {graph.images: graph.output.preprocess(image)})
        reference = tensornets_boxes(tensornets_engine, output, *image.shape[1:3])
        assert len(reference) > 24
        assert_same(our_boxes(detector, read_image(path.read_bytes())), reference)
    graph.assign(model.arrays)


@pytest.mark.parametrize("engine", ["onnxruntime", "tensornets"])
def test_the_detect_command_gives_the_boxes_of_the_readme_example(shared, arrays, model, tensornets_engine, tmp_path, monkeypatch, engine):
    cv2 = pytest.importorskip("cv2", reason="tensornets resizes images with OpenCV")
    sparse, graph, path = Model("sparse", VOC, with_confident_outputs(arrays, -2.2)), tensornets_engine.graph, shared / "photos" / "cat.png"
    (tmp_path / "weights").mkdir()
    write_tensornets(sparse, tmp_path / "weights" / entry_of("tensornets-yolov2-voc").file)
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    options = ["--model", "tensornets-yolov2-voc", "--confidence", "0.1", "--iou", "0.4", "--engine", engine, "--json"]
    command = [sys.executable, "-m", "cli.main", "detect", str(path), *options]
    record = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    unique = {}
    for detection in record["detections"]:  # as in `our_boxes`
        box = tuple(detection["box"].values())
        unique.setdefault(box, (detection["label"], *box, detection["score"]))

    graph.assign(sparse.arrays)
    image = cv2.imread(str(path))[None].astype(np.float32)
    output = graph.session.run(graph.output, {graph.images: graph.output.preprocess(image)})
    reference = tensornets_boxes(tensornets_engine, output, *image.shape[1:3])
    graph.assign(model.arrays)
    assert len(reference) > 24
    assert_same(list(unique.values()), reference)


def test_boxes_on_an_image_of_other_proportions_equal_those_of_get_boxes(detector, tensornets_engine):
    image = np.asarray(Image.fromarray(random_images(416, count=1)[0]).resize((300, 650)))
    prepared = detector.preprocess(image)
    assert_same(our_boxes(detector, image), tensornets_boxes(tensornets_engine, tensornets_engine(prepared.pixels[None]), 650, 300))


def test_get_boxes_decodes_only_the_first_image_of_a_batch(detector, tensornets_engine):
    images = random_images(416, count=3)
    logits = tensornets_engine(images.astype(np.float32))
    first = tensornets_boxes(tensornets_engine, logits[:1], 416, 416)
    assert tensornets_boxes(tensornets_engine, logits, 416, 416) == first
    for image, image_logits in zip(images, logits, strict=True):
        detections = detector.postprocess(image_logits, detector.preprocess(image), score_threshold=THRESHOLD, iou_threshold=OVERLAP)
        unique = {each.box: (VOC.labels[each.class_id], *each.box, each.score) for each in reversed(list(detections))}
        assert_same(list(unique.values()), tensornets_boxes(tensornets_engine, image_logits[None], 416, 416))


def suppressed_in_order(boxes, scores):
    """Suppress boxes like tensornets: pair by pair in the order of the cells. A box that is suppressed later still suppresses others."""
    scores = np.where(scores > THRESHOLD, scores, 0)
    for column in scores.T:
        overlaps = box_iou(boxes, boxes) >= OVERLAP
        for index in np.nonzero(column)[0]:
            for later in np.nonzero(column[index + 1 :])[0] + index + 1:
                if column[index] and overlaps[index, later]:
                    column[index if column[later] > column[index] else later] = 0
    return scores


def test_with_many_overlapping_boxes_only_the_order_of_suppression_differs(arrays, model, tensornets_engine):
    tensornets_engine.graph.assign(with_confident_outputs(arrays, -1))
    image = random_images(416, count=1).astype(np.float32)
    logits = tensornets_engine(image)
    tensornets_engine.graph.assign(model.arrays)
    reference = tensornets_boxes(tensornets_engine, logits, 416, 416)
    boxes, scores = decode(logits[0], VOC.anchors, VOC.stride)
    kept = suppressed_in_order(boxes, scores)
    expected = [(VOC.labels[kept[i].argmax()], *np.clip(boxes[i], 0, 416), kept[i].max()) for i in np.nonzero(kept.any(axis=1))[0]]
    assert_same(expected, reference)
    assert len(our_boxes(Detector(VOC, lambda _: logits), image[0].astype(np.uint8))) > len(reference)
