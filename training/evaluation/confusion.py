"""Which class is taken for which."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.boxes import box_iou
from detector.detections import Detections
from training.evaluation.voc_ap import Truth


def confusion_matrix(
    found: Sequence[Detections], truths: Sequence[Truth], classes: int, *, score_threshold: float = 0.25, iou_threshold: float = 0.5
) -> NDArray[np.int64]:
    """Detections and truths, photo by photo in the same order -> counts (classes + 1, classes + 1).

    Row: what is there; column: what was found; the last of each is "nothing". A detection and a box go together, whatever their
    classes, if their IoU is at least `iou_threshold`; pairs are made from the highest IoU down, each side once. Boxes marked
    difficult, and what is found on them, are left out.
    """
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for detections, truth in zip(found, truths, strict=True):
        sure = detections[detections.scores >= score_threshold]
        matched = pairs(box_iou(truth.boxes, sure.boxes), iou_threshold)
        for there, here in matched:
            if not truth.difficult[there]:
                matrix[truth.class_ids[there], sure.class_ids[here]] += 1
        missed = set(np.flatnonzero(~truth.difficult).tolist()) - {there for there, _ in matched}
        invented = set(range(len(sure))) - {here for _, here in matched}
        for there in missed:
            matrix[truth.class_ids[there], classes] += 1
        for here in invented:
            matrix[classes, sure.class_ids[here]] += 1
    return matrix


def pairs(overlaps: NDArray[np.float32], iou_threshold: float) -> list[tuple[int, int]]:
    """(N, M) IoU -> pairs (row, column), the best first."""
    found: list[tuple[int, int]] = []
    left = np.where(overlaps >= iou_threshold, overlaps, 0)
    while left.size and left.max() > 0:
        row, column = np.unravel_index(int(np.argmax(left)), left.shape)
        found.append((int(row), int(column)))
        left[row], left[:, column] = 0, 0
    return found
