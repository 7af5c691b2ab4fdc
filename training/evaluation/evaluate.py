"""How good a detector is on a data set: the measurement behind every AP that we quote."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detector.detections import Detections
from detector.detector import DEFAULT_IOU, Detector
from training.data.voc_reader import Sample
from training.errors import DatasetError
from training.evaluation.coco_ap import CocoAp, coco_ap
from training.evaluation.confusion import confusion_matrix
from training.evaluation.voc_ap import ClassResult, Truth, evaluate_class, mean

SCORE_THRESHOLD = 0.005
"""Low, so that the curve is whole; Darknet's `detector valid` uses it too (examples/detector.c)."""
FREQUENT = 19
"""Boxes of a class from which on one box more or less moves its AP by about five points at most."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One detector on one data set: what it found and what there was, photo by photo, and the measures of that."""

    labels: tuple[str, ...]
    found: Sequence[Detections]
    truths: Sequence[Truth]
    seconds: float  # of detection, reading of files included
    other_boxes: int  # boxes of labels that the model does not know, left out

    @cached_property
    def classes(self) -> dict[str, ClassResult]:
        """By label, those of which there is something to be found; IoU at least 0.5."""
        results = {label: evaluate_class(self.found, self.truths, class_id) for class_id, label in enumerate(self.labels)}
        return {label: result for label, result in results.items() if result.boxes}

    @property
    def ap50(self) -> float:
        """Mean of the classes' areas under the curve."""
        return mean([result.ap for result in self.classes.values()])

    @property
    def ap50_frequent(self) -> float:
        """Mean over the classes with at least FREQUENT boxes, or over all if none has as many."""
        return mean([result.ap for result in self.classes.values() if result.boxes >= FREQUENT]) if self._has_frequent else self.ap50

    @property
    def _has_frequent(self) -> bool:
        return any(result.boxes >= FREQUENT for result in self.classes.values())

    @property
    def ap50_weighted(self) -> float:
        """Mean of the classes' areas under the curve, each weighted by its number of boxes."""
        boxes = [result.boxes for result in self.classes.values()]
        return float(np.average([result.ap for result in self.classes.values()], weights=boxes)) if boxes else float("nan")

    @property
    def ap50_11_point(self) -> float:
        """Mean of the classes' eleven-point AP (VOC 2007)."""
        return mean([result.ap_11_point for result in self.classes.values()])

    @cached_property
    def coco(self) -> CocoAp:
        """COCO's AP. Raises MissingExtra without pycocotools."""
        return coco_ap(self.found, self.truths, len(self.labels))

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """What was taken for what at a score of 0.25, see `confusion_matrix`."""
        return confusion_matrix(self.found, self.truths, len(self.labels))

    @property
    def photos_per_second(self) -> float:
        """Detection one photo at a time, reading of files included."""
        return len(self.found) / self.seconds


def evaluate(detector: Detector, samples: Sequence[Sample], *, advance: Callable[[], object] = lambda: None) -> Evaluation:
    """Run the detector over the samples (score 0.005, NMS 0.45) and compare. `advance` is called after each photo.

    Detections of classes that are not labelled in an image are left out, and boxes of these classes count as difficult.
    Raises DatasetError without samples, ImageError for a photo that cannot be read.
    """
    if not samples:
        raise DatasetError("there is no sample to evaluate on.")
    started = time.perf_counter()
    found = list(_found(detector, samples, advance))
    seconds = time.perf_counter() - started
    found = [_of_labelled(detections, sample, detector.spec.labels) for detections, sample in zip(found, samples, strict=True)]
    truths = [truth_of(sample, detector.spec.labels) for sample in samples]
    if all(truth.difficult.all() for truth in truths):
        labels = ", ".join(sorted({label for sample in samples for label in sample.labels})) or "none"
        raise DatasetError(f"there is nothing to be found that the model knows and that is not difficult: the boxes' labels are {labels}.")
    others = sum(len(sample.labels) for sample in samples) - sum(len(truth.boxes) for truth in truths)
    return Evaluation(detector.spec.labels, found, truths, seconds, others)


def _found(detector: Detector, samples: Sequence[Sample], advance: Callable[[], object]) -> Iterable[Detections]:
    for sample in samples:
        image = sample.picture()
        yield detector.detect(image, score_threshold=SCORE_THRESHOLD, iou_threshold=DEFAULT_IOU)
        advance()


def _of_labelled(detections: Detections, sample: Sample, labels: Sequence[str]) -> Detections:
    if sample.labelled is None:
        return detections
    labelled = np.array([label in sample.labelled for label in labels], np.bool_)
    return detections[labelled[detections.class_ids]]


def truth_of(sample: Sample, labels: Sequence[str]) -> Truth:
    """The sample's boxes of known labels, as class ids. Boxes whose class is not exhaustively labelled in the image are difficult."""
    known = np.array([label in labels for label in sample.labels], np.bool_)
    class_ids = np.array([labels.index(label) for label in sample.labels if label in labels], np.int64)
    partial = np.array([sample.labelled is not None and label not in sample.labelled for label in sample.labels], np.bool_)
    uncounted = sample.difficult | partial
    return Truth(sample.boxes[known], class_ids, uncounted[known])
