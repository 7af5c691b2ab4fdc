"""COCO AP and the confusion matrix: agreement with our matching, and known answers."""

import numpy as np
import pytest

from detector.boxes.detections import Detections
from training.evaluation.coco_ap import coco_ap
from training.evaluation.confusion import confusion_matrix
from training.evaluation.voc_ap import ImageTruth, evaluate_class

CLASSES = 3


def random_images(seed, images=20):
    """Return random detections and ground truth: boxes on a lattice, shifted copies as detections, and false positives far away.

    The boxes do not overlap. VOC and COCO differ only if a detection overlaps two boxes, or if two detections match a difficult box.
    """
    rng = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=-1).reshape(-1, 2) * 100.0
    detections, truths = [], []
    for _ in range(images):
        selected = corners[rng.random(16) < 0.4]
        boxes = np.concatenate([selected, selected + rng.uniform(25, 90, selected.shape)], axis=1)
        class_ids = rng.integers(0, CLASSES, len(boxes))
        truths.append(ImageTruth(boxes.astype(np.float32), class_ids, rng.random(len(boxes)) < 0.1))
        shifted = boxes + rng.normal(0, 4, boxes.shape)
        noise = rng.uniform(1000, 1300, (5, 2))
        all_boxes = np.concatenate([shifted, np.concatenate([noise, noise + 50], axis=1)])
        scores = rng.permutation(len(all_boxes)) / len(all_boxes) * 0.9 + rng.random() * 0.1
        labels = np.concatenate([class_ids, rng.integers(0, CLASSES, 5)])
        detections.append(Detections(all_boxes.astype(np.float32), scores.astype(np.float32), labels))
    return detections, truths


def interpolated_ap(precision, recall):
    """Return the mean, over recall 0, 0.01, ..., 1, of the best precision at that recall or more: COCO's AP at one IoU threshold."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(np.mean(envelope[np.searchsorted(recall, np.linspace(0, 1, 101), side="left")]))


@pytest.mark.parametrize("seed", range(5))
def test_our_matching_agrees_with_pycocotools(seed):
    detections, truths = random_images(seed)
    for threshold, part in ((0.5, "ap50"), (0.75, "ap75")):
        ours = [evaluate_class(detections, truths, class_id, iou_threshold=threshold) for class_id in range(CLASSES)]
        mean = np.mean([interpolated_ap(result.precision, result.recall) for result in ours])
        assert 0.05 < mean < 0.95
        assert getattr(coco_ap(detections, truths, CLASSES), part) == pytest.approx(mean, abs=1e-6)


def test_perfect_detections_have_an_ap_of_one_and_no_detections_an_ap_of_zero():
    _, truths = random_images(1)
    perfect = [Detections(truth.boxes, np.ones(len(truth.boxes), np.float32), truth.class_ids) for truth in truths]
    assert coco_ap(perfect, truths, CLASSES).ap == pytest.approx(1)
    assert coco_ap([Detections.empty() for _ in truths], truths, CLASSES).ap == 0


def test_a_size_without_ground_truth_is_nan():
    truth = ImageTruth(np.array([[0, 0, 200, 200]], np.float32), np.array([0]), np.array([False]))
    result = coco_ap([Detections(truth.boxes, np.ones(1, np.float32), truth.class_ids)], [truth], 1)
    assert (result.large, result.ap) == (pytest.approx(1), pytest.approx(1))
    assert np.isnan(result.small)


def test_confusion_matrix_counts_correct_confused_missed_and_false_detections():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float32)
    truth = ImageTruth(boxes, np.array([0, 1, 1, 0]), np.array([False, False, False, True]))
    boxes_detected = np.array([[0, 0, 10, 10], [20, 0, 30, 11], [90, 0, 99, 10], [60, 0, 70, 10], [0, 0, 10, 10]], np.float32)
    detections = Detections(boxes_detected, np.array([0.9, 0.8, 0.7, 0.6, 0.1], np.float32), np.array([0, 0, 1, 0, 1]))
    np.testing.assert_array_equal(confusion_matrix([detections], [truth], 2), [[1, 0, 0], [1, 0, 1], [0, 1, 0]])


def test_each_row_of_the_confusion_matrix_sums_to_the_ground_truth():
    detections, truths = random_images(2)
    matrix = confusion_matrix(detections, truths, CLASSES)
    box_counts = np.bincount(np.concatenate([truth.class_ids[~truth.difficult] for truth in truths]), minlength=CLASSES)
    np.testing.assert_array_equal(matrix[:CLASSES].sum(axis=1), box_counts)
    assert matrix[CLASSES, CLASSES] == 0
