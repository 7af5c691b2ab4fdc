import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.boxes.geometry import box_iou
from detector.boxes.nms import suppress


def reference_suppress(boxes, scores, score_threshold, iou_threshold):
    """Darknet's loop: for each class, in descending order of scores, drop boxes that overlap a kept box."""
    detections = set()
    for class_id in range(scores.shape[1]):
        kept = []
        for index in sorted(range(len(boxes)), key=lambda i: -scores[i, class_id]):
            overlaps = [box_iou(boxes[index : index + 1], boxes[other : other + 1])[0, 0] for other in kept]
            if scores[index, class_id] > score_threshold and all(overlap <= iou_threshold for overlap in overlaps):
                kept.append(index)
        detections |= {(tuple(boxes[index].tolist()), float(scores[index, class_id]), class_id) for index in kept}
    return detections


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 4))
def test_suppression_equals_darknets_loop(seed, count, classes):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 50, (count, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(count * classes).reshape(count, classes).astype(np.float32) / max(1, count * classes)
    kept = suppress(boxes, scores, 0.25, 0.45)
    np.testing.assert_array_equal(suppress(boxes, scores, 0.25, 0.45, max_detections=3).boxes, kept.boxes[:3])
    assert {(d.box, d.score, d.class_id) for d in kept} == reference_suppress(boxes, scores, 0.25, 0.45)
    assert list(kept.scores) == sorted(kept.scores, reverse=True)


def test_boxes_of_different_classes_do_not_suppress_each_other():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    assert len(suppress(boxes, np.array([[0.9, 0], [0, 0.8]], np.float32), 0.25, 0.45)) == 2
    assert len(suppress(boxes, np.array([[0.9, 0], [0.8, 0]], np.float32), 0.25, 0.45)) == 1


def test_one_box_may_have_two_classes():
    kept = suppress(np.array([[0, 0, 1, 1]], np.float32), np.array([[0.4, 0.5]], np.float32), 0.25, 0.45)
    assert kept.class_ids.tolist() == [1, 0]


def test_an_iou_equal_to_the_threshold_is_kept():
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)  # IoU 0.5
    scores = np.array([[0.9], [0.8]], np.float32)
    assert len(suppress(boxes, scores, 0.25, 0.5)) == 2
    assert len(suppress(boxes, scores, 0.25, 0.49)) == 1


def test_no_score_above_the_threshold_gives_no_detections():
    assert len(suppress(np.zeros((3, 4), np.float32), np.full((3, 2), 0.25, np.float32), 0.25, 0.45)) == 0
    assert len(suppress(np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32), 0.25, 0.45)) == 0


def test_suppression_of_millions_of_candidates_needs_little_memory_for_the_first_detection():
    """Lists of all candidates as Python integers would need 140 MB in addition to the arrays."""
    rng = np.random.default_rng(0)
    boxes, scores = np.zeros((2000, 4), np.float32), rng.random((2000, 1000), np.float32)
    tracemalloc.start()
    assert len(suppress(boxes, scores, 0.0, 1.0, max_detections=1)) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
