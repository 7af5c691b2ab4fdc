"""Greedy non-maximum suppression, class by class (Darknet src/box.c, do_nms_sort)."""

from collections.abc import Iterator
from heapq import merge
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from detector.boxes import box_iou
from detector.detections import Boxes, Detections


def suppress(
    boxes: Boxes,
    scores: NDArray[np.float32],
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None = None,
) -> Detections:
    """(N, 4) xyxy and (N, C) scores 0..1 -> the boxes kept, best score first, no more than `max_detections`.

    A box counts once for each class whose score is above `score_threshold`; of two boxes of one class that overlap
    by more than `iou_threshold` the better one stays. Equal scores keep the order of the cells.
    """
    places, class_ids = np.nonzero(scores > score_threshold)
    candidates = Detections(boxes[places], scores[places, class_ids], class_ids.astype(np.int64))
    candidates = candidates[np.argsort(-candidates.scores, kind="stable")]
    # Each class is suppressed only as far as somebody asks: a threshold of 0 costs no more than the boxes that are wanted.
    by_class = [np.flatnonzero(candidates.class_ids == class_id) for class_id in np.unique(candidates.class_ids)]
    kept = merge(*(greedy(candidates.boxes, members, iou_threshold) for members in by_class))
    return candidates[np.fromiter(islice(kept, max_detections), np.intp)]


def greedy(boxes: Boxes, members: NDArray[np.intp], iou_threshold: float) -> Iterator[int]:
    """Those of `members`, indices into (N, 4) xyxy, best first, that no better one kept overlaps by more than `iou_threshold`."""
    while len(members):
        best, members = int(members[0]), members[1:]
        yield best
        members = members[box_iou(boxes[best : best + 1], boxes[members])[0] <= iou_threshold]
