"""VOC average precision: known answers and identities."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.boxes.detections import Detections
from training.evaluation import voc_ap
from training.evaluation.voc_ap import ImageTruth, area_ap, eleven_point_ap, evaluate_class, mean_known

BOX = [10, 10, 20, 20]
ELSEWHERE = [50, 50, 60, 60]


def detections_of(*scored):
    boxes, scores, class_ids = zip(*scored, strict=True) if scored else ((), (), ())
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(class_ids, np.int64))


def truth(*boxes, difficult=()):
    return ImageTruth(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int64), np.isin(np.arange(len(boxes)), difficult))


def test_the_worked_examples_in_the_docstrings_are_correct():
    assert doctest.testmod(voc_ap) == (0, 2)  # failed, attempted


def test_a_second_detection_of_a_box_is_a_false_positive():
    result = evaluate_class([detections_of((BOX, 0.9, 0), (BOX, 0.8, 0))], [truth(BOX)], 0)
    np.testing.assert_allclose(result.precision, [1, 0.5])
    np.testing.assert_allclose(result.recall, [1, 1])
    assert result.ap == result.ap_11_point == 1


def test_the_detection_with_the_higher_score_is_matched():
    result = evaluate_class([detections_of((BOX, 0.3, 0), ([11, 10, 20, 20], 0.9, 0))], [truth(BOX)], 0)
    np.testing.assert_allclose(result.scores, [0.9, 0.3], rtol=1e-6)
    np.testing.assert_allclose(result.precision, [1, 0.5])


def test_boxes_of_other_classes_or_images_do_not_match():
    result = evaluate_class([detections_of((BOX, 0.9, 1)), detections_of((BOX, 0.8, 0))], [truth(BOX), truth()], 0)
    assert result.boxes == 1
    assert result.ap == 0


def test_the_found_boxes_have_a_score_above_the_confidence():
    result = evaluate_class([detections_of((BOX, 0.75, 0), (BOX, 0.5, 0), (ELSEWHERE, 0.25, 0))], [truth(BOX, ELSEWHERE, [0, 0, 5, 5])], 0)
    assert [result.found_above(confidence) for confidence in (0.8, 0.75, 0.6, 0.3, 0.25, 0.1)] == [0, 0, 1, 1, 1, 2]


def test_difficult_boxes_are_ignored():
    result = evaluate_class([detections_of((BOX, 0.9, 0), (ELSEWHERE, 0.8, 0))], [truth(BOX, ELSEWHERE, difficult=[0])], 0)
    assert result.boxes == 1
    np.testing.assert_allclose(result.scores, [0.8], rtol=1e-6)
    assert result.ap == 1


def test_an_iou_of_exactly_one_half_is_a_match():
    half = detections_of(([10, 10, 20, 15], 0.9, 0))
    assert evaluate_class([half], [truth(BOX)], 0).ap == 1
    assert evaluate_class([half], [truth(BOX)], 0, iou_threshold=0.51).ap == 0


def test_ap_without_detections_is_zero_and_without_ground_truth_nan():
    assert evaluate_class([detections_of()], [truth(BOX)], 0).ap == 0
    assert np.isnan(evaluate_class([detections_of((BOX, 0.9, 0))], [truth()], 0).ap)
    assert mean_known([float("nan"), 0.5, 1.0]) == 0.75
    assert np.isnan(mean_known([]))


def reference_area(is_hit, boxes):
    """Sum over the true positives: each raises recall by 1 / boxes, times the best precision at that recall or more."""
    precision = [sum(is_hit[: i + 1]) / (i + 1) for i in range(len(is_hit))]
    return sum(max(precision[i:]) / boxes for i, hit in enumerate(is_hit) if hit)


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 5))
def test_area_equals_the_sum_over_hits(is_hit, missed):
    boxes = max(1, sum(is_hit) + missed)
    hits = np.cumsum(is_hit)
    precision, recall = hits / np.arange(1, len(is_hit) + 1), hits / boxes
    assert area_ap(precision, recall) == pytest.approx(reference_area(is_hit, boxes))
    assert 0 <= eleven_point_ap(precision, recall) <= 1
