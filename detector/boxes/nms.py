"""Greedy non-maximum suppression, class by class (Darknet src/box.c, do_nms_sort)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes, Detections
from detector.boxes.geometry import box_iou

MAX_LISTED = 10_000
"""Candidates that become Python integers at a time. A model with many classes can have millions of candidates."""


def suppress(
    boxes: Boxes,
    scores: NDArray[np.float32],
    score_threshold: float | NDArray[np.float32],
    iou_threshold: float,
    max_detections: int | None = None,
) -> Detections:
    """Apply greedy per-class non-maximum suppression.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N, C), 0..1. A box is a candidate of each class with a score above the threshold.
        score_threshold: Drop candidates at or below this score: one number, or one for each class (C,).
        iou_threshold: Drop a candidate if its IoU with a better one of its class exceeds this.
        max_detections: Keep at most this many. None keeps all.

    Returns:
        The remaining detections, best score first. Equal scores keep the order of `boxes`.
    """
    selected = np.flatnonzero((scores > score_threshold).any(axis=1))
    boxes, scores = boxes[selected], scores[selected]
    indices, class_ids = np.nonzero(scores > score_threshold)
    best_first = np.argsort(-scores[indices, class_ids], kind="stable")
    indices, class_ids = indices[best_first], class_ids[best_first]
    kept = _greedy(boxes, indices, class_ids, iou_threshold, max_detections)
    indices, class_ids = indices[kept], class_ids[kept]
    return Detections(boxes[indices], scores[indices, class_ids], class_ids.astype(np.int64))


def _pairs(indices: NDArray[np.intp], class_ids: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(indices), MAX_LISTED):
        yield from zip(indices[start : start + MAX_LISTED].tolist(), class_ids[start : start + MAX_LISTED].tolist(), strict=True)


def _greedy(
    boxes: Boxes, indices: NDArray[np.intp], class_ids: NDArray[np.intp], iou_threshold: float, max_detections: int | None
) -> NDArray[np.intp]:
    """Return the positions of the candidates (box index, class; best first) that survive.

    All classes share the boxes, so the IoU of a box is computed once, and only if the box survives. The loop reads the suppressed
    flags from bytearrays, because Python reads them faster than array elements.
    """
    classes = int(class_ids.max(initial=-1)) + 1
    suppressed = [bytearray(len(boxes)) for _ in range(classes)]
    views = [np.frombuffer(flags, np.bool_) for flags in suppressed]
    overlapping: dict[int, NDArray[np.bool_]] = {}
    kept: list[int] = []
    for position, (index, class_id) in enumerate(_pairs(indices, class_ids)):
        if suppressed[class_id][index]:
            continue
        if len(kept) == max_detections:
            break
        kept.append(position)
        if index not in overlapping:
            overlapping[index] = box_iou(boxes[index : index + 1], boxes)[0] > iou_threshold
        views[class_id] |= overlapping[index]
    return np.array(kept, np.intp)
