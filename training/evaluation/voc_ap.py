"""Average precision as the PASCAL VOC challenges define it (Everingham et al., IJCV 2010; devkit VOCevaldet.m).

A detection is right if its IoU with a box of its class is at least the threshold and no better detection has taken that
box. Boxes marked difficult count neither for nor against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.boxes import box_iou
from detector.detections import Boxes, Detections

Curve = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is to be found on one photo."""

    boxes: Boxes  # (N, 4) xyxy, image pixels
    class_ids: NDArray[np.int64]  # (N,)
    difficult: NDArray[np.bool_]  # (N,)


@dataclass(frozen=True, eq=False)
class ClassResult:
    """One class over all photos, detections from the best score down."""

    boxes: int  # to be found, difficult ones left out
    precision: Curve  # (D,) after each detection
    recall: Curve  # (D,)
    scores: Curve  # (D,)

    @property
    def ap(self) -> float:
        """Area under the curve of VOC 2010 and later; nan for a class of which there is nothing to be found."""
        return area_ap(self.precision, self.recall) if self.boxes else float("nan")

    @property
    def ap_11_point(self) -> float:
        """The mean of eleven points, of VOC 2007; nan likewise."""
        return eleven_point_ap(self.precision, self.recall) if self.boxes else float("nan")


def evaluate_class(found: Sequence[Detections], truths: Sequence[Truth], class_id: int, *, iou_threshold: float = 0.5) -> ClassResult:
    """Detections and truths, photo by photo in the same order -> the class's curve. IoU at least `iou_threshold` is a match."""
    verdicts = [_verdicts(detections, truth, class_id, iou_threshold) for detections, truth in zip(found, truths, strict=True)]
    scores = np.concatenate([np.zeros(0), *(scores for scores, _ in verdicts)])
    right = np.concatenate([np.zeros(0), *(right for _, right in verdicts)])
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    counted = ~np.isnan(right)  # those on difficult boxes are left out
    scores, right = scores[counted], right[counted]
    boxes = sum(int(((truth.class_ids == class_id) & ~truth.difficult).sum()) for truth in truths)
    hits = np.cumsum(right)
    return ClassResult(boxes, hits / np.arange(1, len(hits) + 1), hits / max(boxes, 1), scores)


def _verdicts(found: Detections, truth: Truth, class_id: int, iou_threshold: float) -> tuple[Curve, Curve]:
    """Scores (D,) and 1 right, 0 wrong, nan not counted, (D,), for one photo and class."""
    mine = found[found.class_ids == class_id]
    mine = mine[np.argsort(-mine.scores, kind="stable")]
    wanted = truth.class_ids == class_id
    overlaps, difficult = box_iou(mine.boxes, truth.boxes[wanted]), truth.difficult[wanted]
    taken = np.zeros(len(difficult), np.bool_)
    right = np.zeros(len(mine))
    for place, row in enumerate(overlaps if len(difficult) else ()):
        best = int(np.argmax(row))
        if row[best] < iou_threshold:
            continue
        if difficult[best]:
            right[place] = np.nan
        elif not taken[best]:
            right[place] = taken[best] = True
    return mine.scores.astype(np.float64), right


def area_ap(precision: Curve, recall: Curve) -> float:
    """Area under precision over recall, precision made falling first.

    Two boxes; of three detections the first and the third are right. Recall reaches 0.5 at precision 1 and 1.0 at 2/3:

    >>> round(area_ap(np.array([1, 1 / 2, 2 / 3]), np.array([0.5, 0.5, 1.0])), 4)
    0.8333
    """
    envelope = np.maximum.accumulate(np.append(precision, 0.0)[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float(np.sum(steps * envelope[:-1]))


def eleven_point_ap(precision: Curve, recall: Curve) -> float:
    """Mean over recall 0, 0.1, ..., 1 of the best precision at that recall or more.

    The same detections: precision 1 at the six points up to 0.5, 2/3 at the five above it: (6 + 5 * 2/3) / 11.

    >>> round(eleven_point_ap(np.array([1, 1 / 2, 2 / 3]), np.array([0.5, 0.5, 1.0])), 4)
    0.8485
    """
    points = np.arange(11) / 10
    return float(np.mean([max(precision[recall >= point - 1e-12], default=0.0) for point in points]))


def mean(values: Sequence[float]) -> float:
    """Mean over the classes that have something to be found; nan if none has."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
