"""Confusion matrix of a detector."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Detections
from detector.boxes.geometry import box_iou
from detector.detector import DEFAULT_SCORE
from training.evaluation.voc_ap import ImageTruth

MIN_IOU = 0.5  # of a detection and the box that it is matched to


def confusion_matrix(detections: Sequence[Detections], truths: Sequence[ImageTruth], classes: int) -> NDArray[np.int64]:
    """Count which class is detected as which.

    Detections and boxes are matched regardless of their classes, from the highest IoU down, each at most once. Boxes marked difficult, and
    detections of them, are ignored.

    Returns:
        Counts (classes + 1, classes + 1). Row: true class; column: detected class. The last row and column are "nothing".
    """
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for found, truth in zip(detections, truths, strict=True):
        confident = found[found.scores >= DEFAULT_SCORE]
        matches = match_boxes(box_iou(truth.boxes, confident.boxes))
        for truth_index, index in matches:
            if not truth.difficult[truth_index]:
                matrix[truth.class_ids[truth_index], confident.class_ids[index]] += 1
        missed = set(np.flatnonzero(~truth.difficult).tolist()) - {truth_index for truth_index, _ in matches}
        false_positives = set(range(len(confident))) - {index for _, index in matches}
        for truth_index in missed:
            matrix[truth.class_ids[truth_index], classes] += 1
        for index in false_positives:
            matrix[classes, confident.class_ids[index]] += 1
    return matrix


def match_boxes(overlaps: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Match rows and columns of an IoU matrix (N, M) greedily. Returns pairs (row, column), highest IoU first."""
    matches: list[tuple[int, int]] = []
    remaining = np.where(overlaps >= MIN_IOU, overlaps, 0)
    while remaining.size and remaining.max() > 0:
        row, column = np.unravel_index(int(np.argmax(remaining)), remaining.shape)
        matches.append((int(row), int(column)))
        remaining[row], remaining[:, column] = 0, 0
    return matches
