"""Greedy non-maximum suppression, class by class (Darknet src/box.c, do_nms_sort)."""

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
    asked = np.flatnonzero((scores > score_threshold).any(axis=1))  # boxes that are candidates of any class
    boxes, scores = boxes[asked], scores[asked]
    places, class_ids = np.nonzero(scores > score_threshold)
    best_first = np.argsort(-scores[places, class_ids], kind="stable")
    places, class_ids = places[best_first], class_ids[best_first]
    kept = _greedy(boxes, places, class_ids, iou_threshold, max_detections)
    places, class_ids = places[kept], class_ids[kept]
    return Detections(boxes[places], scores[places, class_ids], class_ids.astype(np.int64))


def _greedy(
    boxes: Boxes, places: NDArray[np.intp], class_ids: NDArray[np.intp], iou_threshold: float, most: int | None
) -> NDArray[np.intp]:
    """Which of the candidates (place of its box, class), best first, no better one kept overlaps; `most` at the most.

    All classes share the boxes, so an overlap is worked out once, and only for a box that is kept. Who is out is looked up in bytes,
    which Python reads quicker than an array's elements.
    """
    classes = int(class_ids.max(initial=-1)) + 1
    dead = [bytearray(len(boxes)) for _ in range(classes)]
    views = [np.frombuffer(each, np.bool_) for each in dead]
    overlapping: dict[int, NDArray[np.bool_]] = {}
    kept: list[int] = []
    for index, (place, class_id) in enumerate(zip(places.tolist(), class_ids.tolist(), strict=True)):
        if dead[class_id][place]:
            continue
        if len(kept) == most:
            break
        kept.append(index)
        if place not in overlapping:
            overlapping[place] = box_iou(boxes[place : place + 1], boxes)[0] > iou_threshold
        views[class_id] |= overlapping[place]
    return np.array(kept, np.intp)
