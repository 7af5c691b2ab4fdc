"""Shares of images with a false alarm, the threshold with the highest F1, and the warning about few boxes."""

import logging

import numpy as np
import pytest
from PIL import Image

from detector.boxes.detections import Detections
from detector.detector import Detector
from detector.engines.onnxruntime import OnnxEngine
from training.errors import DatasetError
from training.evaluation.false_alarms import (
    background_images,
    best_confidence,
    count_false_alarms,
    describe_conclusion,
    detect_in_background,
    few_boxes_warning,
)
from training.evaluation.voc_ap import ImageTruth

BOX, ELSEWHERE = (0, 0, 10, 10), (50, 50, 60, 60)


def detections_of(*detections):
    """(box, score, class id), ... -> Detections."""
    boxes = np.array([box for box, _, _ in detections], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in detections], np.float32)
    return Detections(boxes, scores, np.array([class_id for _, _, class_id in detections], np.int64))


def truth(*boxes, class_id=0):
    count = len(boxes)
    return ImageTruth(np.array(boxes, np.float32).reshape(-1, 4), np.full(count, class_id, np.int64), np.zeros(count, np.bool_))


def test_an_image_counts_once_and_only_for_the_given_classes():
    images = [
        detections_of((BOX, 0.9, 1), (ELSEWHERE, 0.8, 1)),
        detections_of((BOX, 0.3, 1)),
        detections_of((BOX, 0.9, 0)),
        detections_of(),
    ]
    assert count_false_alarms(images, [1]).to_json() == {"images": 4, "0.25": 0.5, "0.5": 0.25}
    assert count_false_alarms(images, [2]).to_json() == {"images": 4, "0.25": 0.0, "0.5": 0.0}


def test_only_scores_above_the_threshold_are_false_alarms():
    assert count_false_alarms([detections_of((BOX, 0.25, 0)), detections_of((BOX, 0.5, 0))], [0]).shares == {0.25: 0.5, 0.5: 0.0}


def test_without_images_the_shares_of_false_alarms_are_zero():
    assert count_false_alarms([], [0]).to_json() == {"images": 0, "0.25": 0.0, "0.5": 0.0}


def test_the_threshold_is_between_the_last_hit_and_the_first_false_alarm():
    detections = [detections_of((BOX, 0.8, 0)), detections_of((BOX, 0.6, 0)), detections_of((BOX, 0.2, 0))]
    assert best_confidence(detections, [truth(BOX), truth(BOX), truth()], 0) == pytest.approx(0.4)


def test_background_images_raise_the_threshold():
    hits = [detections_of((BOX, 0.8, 0)), detections_of((BOX, 0.3, 0))]
    truths = [truth(BOX), truth(BOX)]
    assert best_confidence(hits, truths, 0) == pytest.approx((0.3 + 0.005) / 2)
    alarms = [detections_of((BOX, 0.5, 0)) for _ in range(5)]
    assert best_confidence([*hits, *alarms], [*truths, *[truth()] * 5], 0) == pytest.approx(0.65)


def test_equal_scores_are_accepted_together():
    detections = [detections_of((BOX, 0.5, 0), (ELSEWHERE, 0.5, 0)), detections_of((BOX, 0.4, 0))]
    assert best_confidence(detections, [truth(BOX), truth(BOX)], 0) == pytest.approx((0.4 + 0.005) / 2)


def test_a_class_without_boxes_or_detections_has_no_threshold():
    assert best_confidence([detections_of((BOX, 0.5, 0))], [truth()], 0) is None
    assert best_confidence([detections_of()], [truth(BOX)], 0) is None


def test_a_class_that_is_never_found_has_no_threshold():
    detections = [detections_of((ELSEWHERE, 0.5, 0)), detections_of((ELSEWHERE, 0.07, 0))]
    assert best_confidence(detections, [truth(BOX), truth(BOX)], 0) is None


def test_few_boxes_lead_to_a_warning_with_the_effect_of_one_box():
    assert few_boxes_warning({"cat": 5, "dog": 100}).startswith(
        "the validation set has only 5 boxes of cat: one box changes its AP50 by about 20"
    )
    assert "only 1 box of dog" in few_boxes_warning({"cat": 5, "dog": 1})
    assert few_boxes_warning({"cat": 20, "dog": 0}) is None


def test_the_conclusion_names_shares_and_suggested_thresholds():
    conclusion = {
        "new_labels": ["raccoon"],
        "false_alarms": {"memory": {"images": 50, "0.25": 0.02, "0.5": 0.0}},
        "confidence": {"raccoon": 0.414, "cat": 0.3},
        "found": {"raccoon": {"boxes": 9, "0.25": 8, "suggested": 7}},
        "warning": None,
    }
    assert describe_conclusion(conclusion) == [
        "False alarms (raccoon) in 50 remembered images that were not trained on: 2.0% at confidence 0.25, 0.0% at 0.5.",
        "Suggested confidence (best F1): raccoon 0.41.",
        "Found in the validation set at confidence 0.25: raccoon 8 of 9; at the suggested confidence: raccoon 7 of 9.",
    ]
    assert describe_conclusion({}) == []


def test_the_conclusion_names_classes_without_a_suggested_threshold():
    found = {"cone": {"boxes": 3, "0.25": 0, "suggested": 0}}
    assert describe_conclusion({"new_labels": ["cone"], "confidence": {"cat": 0.3}, "found": found}) == [
        "No confidence is suggested for cone: no object is found at any confidence.",
        "Found in the validation set at confidence 0.25: cone 0 of 3.",
    ]


def test_the_conclusion_of_a_self_check_is_only_its_result():
    numbers = {"new_labels": ["cone"], "confidence": {"cone": 0.3}, "new_ap50": {"cone": 1.0}, "warning": None}
    (passed,) = describe_conclusion(numbers | {"self_check": 8, "ap50": 0.95})
    assert passed.startswith("Self-check passed: AP50 is 0.950 on the 8 images of training.")
    (failed,) = describe_conclusion(numbers | {"self_check": 1, "ap50": 0.4})
    assert failed.startswith("Self-check failed: AP50 is 0.400 on the 1 image of training.")


def test_a_background_image_that_cannot_be_read_is_skipped_and_logged(tiny_model, tmp_path, caplog):
    detector = Detector(tiny_model.spec, OnnxEngine.of(tiny_model))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    (tmp_path / "text.jpg").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING, "boxwright.training"):
        assert len(detect_in_background(detector, tmp_path)) == 2
    assert [record.getMessage().startswith(f"background image skipped: {tmp_path / 'text.jpg'}: ") for record in caplog.records] == [True]
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match="no image in this folder can be read"):
        detect_in_background(detector, tmp_path)


def test_annotated_copies_are_no_background_images(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.boxes.png")
    with pytest.raises(DatasetError, match="there are no images"):
        background_images(tmp_path)
