"""Average precision as defined by the PASCAL VOC challenges (Everingham et al., IJCV 2010; devkit VOCevaldet.m).

Each detection, best score first, is compared with the ground-truth box of its class that it overlaps most. It is correct if the IoU reaches
the threshold and no better detection has been matched to that box. Boxes marked difficult, and detections of them, are ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes, Detections
from detector.boxes.geometry import box_iou

Curve = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageTruth:
    """Ground truth of one image."""

    boxes: Boxes  # (N, 4) xyxy, image pixels
    class_ids: NDArray[np.int64]  # (N,)
    difficult: NDArray[np.bool_]  # (N,)


@dataclass(frozen=True, eq=False)
class ClassResult:
    """Precision and recall of one class over all images, after each detection in order of decreasing score."""

    boxes: int  # ground truth, without difficult boxes
    precision: Curve  # (D,)
    recall: Curve  # (D,)
    scores: Curve  # (D,)

    @property
    def ap(self) -> float:
        """Area under the precision-recall curve (VOC 2010 and later). NaN for a class without ground truth."""
        return area_ap(self.precision, self.recall) if self.boxes else float("nan")

    @property
    def ap_11_point(self) -> float:
        """Mean precision at eleven points (VOC 2007). NaN for a class without ground truth."""
        return eleven_point_ap(self.precision, self.recall) if self.boxes else float("nan")

    def found_above(self, confidence: float) -> int:
        """Return the number of ground-truth boxes that are detected with a score above the confidence."""
        accepted = int((self.scores > confidence).sum())
        return round(float(self.recall[accepted - 1]) * self.boxes) if accepted else 0


def evaluate_class(
    detections: Sequence[Detections], truths: Sequence[ImageTruth], class_id: int, *, iou_threshold: float = 0.5
) -> ClassResult:
    """Compute the precision-recall curve of a class.

    Args:
        detections: Detections in each image.
        truths: Ground truth of each image, in the same order.
        class_id: The class.
        iou_threshold: Minimum IoU of a match.
    """
    matches = [_match(found, truth, class_id, iou_threshold) for found, truth in zip(detections, truths, strict=True)]
    scores = np.concatenate([np.zeros(0), *(scores for scores, _ in matches)])
    correct = np.concatenate([np.zeros(0), *(correct for _, correct in matches)])
    order = np.argsort(-scores, kind="stable")
    scores, correct = scores[order], correct[order]
    counted = ~np.isnan(correct)  # detections of difficult boxes are ignored
    scores, correct = scores[counted], correct[counted]
    boxes = sum(int(((truth.class_ids == class_id) & ~truth.difficult).sum()) for truth in truths)
    hits = np.cumsum(correct)
    return ClassResult(boxes, hits / np.arange(1, len(hits) + 1), hits / max(boxes, 1), scores)


def _match(detections: Detections, truth: ImageTruth, class_id: int, iou_threshold: float) -> tuple[Curve, Curve]:
    """Return the scores (D,) of one class in one image, and (D,) 1 for correct, 0 for wrong and NaN for ignored detections."""
    of_class = detections[detections.class_ids == class_id]
    of_class = of_class[np.argsort(-of_class.scores, kind="stable")]
    is_class = truth.class_ids == class_id
    overlaps, difficult = box_iou(of_class.boxes, truth.boxes[is_class]), truth.difficult[is_class]
    matched = np.zeros(len(difficult), np.bool_)
    correct = np.zeros(len(of_class))
    for index, row in enumerate(overlaps if len(difficult) else ()):
        best = int(np.argmax(row))
        if row[best] < iou_threshold:
            continue
        if difficult[best]:
            correct[index] = np.nan
        elif not matched[best]:
            correct[index] = matched[best] = True
    return of_class.scores.astype(np.float64), correct


def area_ap(precision: Curve, recall: Curve) -> float:
    """Return the area under precision over recall, after making precision monotonically decreasing.

    Example: two boxes; of three detections the first and the third are correct. Recall reaches 0.5 at precision 1 and 1.0 at 2/3:

    >>> round(area_ap(np.array([1, 1 / 2, 2 / 3]), np.array([0.5, 0.5, 1.0])), 4)
    0.8333
    """
    envelope = np.maximum.accumulate(np.append(precision, 0.0)[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float(np.sum(steps * envelope[:-1]))


def eleven_point_ap(precision: Curve, recall: Curve) -> float:
    """Return the mean, over recall 0, 0.1, ..., 1, of the best precision at that recall or more.

    Example, with the detections of `area_ap`: precision is 1 at the six points up to 0.5, and 2/3 at the five above: (6 + 5 * 2/3) / 11.

    >>> round(eleven_point_ap(np.array([1, 1 / 2, 2 / 3]), np.array([0.5, 0.5, 1.0])), 4)
    0.8485
    """
    points = np.arange(11) / 10
    return float(np.mean([max(precision[recall >= point - 1e-12], default=0.0) for point in points]))


def mean_known(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN, or NaN if all are."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
