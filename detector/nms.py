"""Greedy non-maximum suppression, class by class (Darknet src/box.c, do_nms_sort)."""

import numpy as np
from numpy.typing import NDArray

from detector.boxes import box_iou
from detector.detections import Boxes, Detections


def suppress(boxes: Boxes, scores: NDArray[np.float32], score_threshold: float, iou_threshold: float) -> Detections:
    """(N, 4) xyxy and (N, C) scores 0..1 -> the boxes kept, best score first.

    A box counts once for each class whose score is above `score_threshold`; of two boxes of one class that overlap
    by more than `iou_threshold` the better one stays. Equal scores keep the order of the cells.
    """
    places, class_ids = np.nonzero(scores > score_threshold)
    candidates = Detections(boxes[places], scores[places, class_ids], class_ids.astype(np.int64))
    candidates = candidates[np.argsort(-candidates.scores, kind="stable")]
    kept = np.zeros(len(candidates), np.bool_)
    for class_id in np.unique(candidates.class_ids):
        (members,) = np.nonzero(candidates.class_ids == class_id)
        kept[members[greedy(candidates.boxes[members], iou_threshold)]] = True
    return candidates[kept]


def greedy(boxes: Boxes, iou_threshold: float) -> NDArray[np.intp]:
    """(N, 4) xyxy, best first -> indices of those that no better kept box overlaps by more than `iou_threshold`."""
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[box_iou(boxes[best : best + 1], boxes[left])[0] <= iou_threshold]
    return np.array(kept, np.intp)
