"""A detector's result on each image, and a selection of its worst and best images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from detector.boxes.detections import Detections
from detector.boxes.geometry import box_iou
from detector.detector import DEFAULT_SCORE
from training.evaluation.confusion import match_boxes
from training.evaluation.evaluate import Evaluation
from training.evaluation.voc_ap import ImageTruth

MAX_MISTAKES = 5  # in the description of an image


@dataclass(frozen=True, eq=False)
class ImageResult:
    """Detections with a score of at least 25 % in one image, matched to the ground truth as in the confusion matrix."""

    index: int  # of the image in the set
    detections: Detections
    truth: ImageTruth
    correct: tuple[float, ...]  # of each box detected with its class: score times IoU
    confused: tuple[tuple[int, int], ...]  # (ground truth, detection) with different classes
    missed: tuple[int, ...]  # ground truth without a detection
    false_positives: tuple[int, ...]  # detections without ground truth

    @property
    def worst_score(self) -> float:
        """The highest score of a wrong detection, or 0."""
        wrong = [*self.false_positives, *(index for _, index in self.confused)]
        return float(self.detections.scores[wrong].max()) if wrong else 0.0

    def describe(self, labels: Sequence[str]) -> str:
        """Return the mistakes. Without a mistake, return the number of objects found."""
        scores, detected, true = self.detections.scores, self.detections.class_ids, self.truth.class_ids
        mistakes = [f"{labels[true[box]]} detected as {labels[detected[found]]} ({scores[found]:.0%})" for box, found in self.confused]
        mistakes += [f"{labels[detected[found]]} ({scores[found]:.0%}) without an object" for found in self.false_positives]
        mistakes += [f"{labels[true[box]]} missed" for box in self.missed]
        if not mistakes:
            return f"all {len(self.correct)} found" if len(self.correct) > 1 else "found" if self.correct else "no object, no detection"
        more = f" and {len(mistakes) - MAX_MISTAKES} more" if len(mistakes) > MAX_MISTAKES else ""
        return ", ".join(mistakes[:MAX_MISTAKES]) + more


def image_results(evaluation: Evaluation) -> list[ImageResult]:
    """Return the result of each image, in order. Boxes marked difficult, and detections of them, are ignored."""
    pairs = zip(evaluation.detections, evaluation.truths, strict=True)
    return [_result(index, found[found.scores >= DEFAULT_SCORE], truth) for index, (found, truth) in enumerate(pairs)]


def _result(index: int, detections: Detections, truth: ImageTruth) -> ImageResult:
    overlaps = box_iou(truth.boxes, detections.boxes)
    matches = match_boxes(overlaps)
    counted = [(box, found) for box, found in matches if not truth.difficult[box]]
    same_class = [(box, found) for box, found in counted if truth.class_ids[box] == detections.class_ids[found]]
    missed = set(np.flatnonzero(~truth.difficult).tolist()) - {box for box, _ in matches}
    false_positives = set(range(len(detections))) - {found for _, found in matches}
    return ImageResult(
        index,
        detections,
        truth,
        tuple(float(detections.scores[found] * overlaps[box, found]) for box, found in same_class),
        tuple(pair for pair in counted if pair not in same_class),
        tuple(sorted(missed)),
        tuple(sorted(false_positives)),
    )


def select_examples(results: Sequence[ImageResult], count: int) -> dict[str, list[ImageResult]]:
    """Return up to `count` images of each kind. No image is selected twice.

    "worst" has wrong detections with the highest scores, "missed" has the most missed objects, and "best" is without mistakes, with high
    scores and exact boxes.
    """
    worst = _highest(results, count, lambda result: result.worst_score)
    missed = _highest([result for result in results if result not in worst], count, lambda result: len(result.missed))
    flawless = [result for result in results if result.correct and not (result.missed or result.worst_score)]
    return {"worst": worst, "missed": missed, "best": _highest(flawless, count, lambda result: float(np.mean(result.correct)))}


def _highest(results: Sequence[ImageResult], count: int, measure: Callable[[ImageResult], float]) -> list[ImageResult]:
    """Return the results with the highest measure above 0."""
    return [result for result in sorted(results, key=measure, reverse=True)[:count] if measure(result) > 0]
