"""Evaluate a detector on a data set. Every AP that the project states is measured here."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Detections
from detector.detector import DEFAULT_IOU, Detector
from training.data.unusable_boxes import count_unusable, report_unusable
from training.data.voc_reader import Sample
from training.errors import DatasetError
from training.evaluation.coco_ap import CocoAp, coco_ap
from training.evaluation.confusion import confusion_matrix
from training.evaluation.voc_ap import ClassResult, ImageTruth, evaluate_class, mean_known
from training.events import SILENT, Events

SCORE_THRESHOLD = 0.005
"""A low threshold makes the precision-recall curve complete. Darknet's `detector valid` uses the same one (examples/detector.c)."""
FREQUENT = 19  # Minimum number of boxes of a frequent class. With that many, one box changes the AP by at most about five points.


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A detector's detections on a data set, the ground truth, and metrics of both."""

    labels: tuple[str, ...]
    detections: Sequence[Detections]  # of each image
    truths: Sequence[ImageTruth]  # of each image
    seconds: float  # of detection, including reading the files
    other_boxes: int  # boxes with labels that the model does not know; ignored
    unusable: Counter[str] = field(default_factory=Counter)  # boxes by problem (`training.data.unusable_boxes`); missed unless difficult

    @cached_property
    def classes(self) -> dict[str, ClassResult]:
        """Results by label at IoU 0.5, of the classes with ground truth."""
        results = {label: evaluate_class(self.detections, self.truths, class_id) for class_id, label in enumerate(self.labels)}
        return {label: result for label, result in results.items() if result.boxes}

    @property
    def ap50(self) -> float:
        """Mean over the classes of the area under the precision-recall curve."""
        return mean_known([result.ap for result in self.classes.values()])

    @property
    def ap50_frequent(self) -> float:
        """Mean over the classes with at least FREQUENT boxes, or over all classes if no class is frequent."""
        frequent = [result.ap for result in self.classes.values() if result.boxes >= FREQUENT]
        return mean_known(frequent) if frequent else self.ap50

    @property
    def ap50_weighted(self) -> float:
        """Mean over the classes, each weighted by its number of boxes."""
        boxes = [result.boxes for result in self.classes.values()]
        return float(np.average([result.ap for result in self.classes.values()], weights=boxes)) if boxes else float("nan")

    @property
    def ap50_11_point(self) -> float:
        """Mean over the classes of the eleven-point AP (VOC 2007)."""
        return mean_known([result.ap_11_point for result in self.classes.values()])

    @cached_property
    def coco(self) -> CocoAp:
        """COCO's AP. Raises MissingExtra without pycocotools."""
        return coco_ap(self.detections, self.truths, len(self.labels))

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Confusion matrix at score 0.25, see `confusion_matrix`."""
        return confusion_matrix(self.detections, self.truths, len(self.labels))

    @property
    def images_per_second(self) -> float:
        """Throughput of detection, one image at a time, including reading the files."""
        return len(self.detections) / self.seconds

    @property
    def warning(self) -> str | None:
        """A sentence about unusable ground-truth boxes, or None if all are usable."""
        total = sum(len(truth.boxes) for truth in self.truths)
        return report_unusable("the data set", self.unusable, total) if self.unusable else None


def evaluate_detector(detector: Detector, samples: Sequence[Sample], *, events: Events = SILENT) -> Evaluation:
    """Run a detector on a data set (score threshold 0.005, NMS IoU 0.45) and compare with the ground truth.

    Detections of classes that are not exhaustively labelled in an image are ignored, and boxes of these classes count as difficult.

    Args:
        detector: The detector.
        samples: The data set.
        events: Receives an event for each image.

    Raises:
        DatasetError: There are no samples, no boxes of the model's labels, or none that can be used.
        ImageError: An image cannot be decoded.
    """
    if not samples:
        raise DatasetError("there are no samples to evaluate on.")
    labels = detector.spec.labels
    truths = [truth_of(sample, labels) for sample in samples]
    if all(truth.difficult.all() for truth in truths):
        present = ", ".join(sorted({label for sample in samples for label in sample.labels})) or "none"
        raise DatasetError(
            f"there is nothing to evaluate: every box is difficult or has a label that the model does not know. "
            f"Labels of the data set: {present}."
        )
    detections, unusable = [], Counter[str]()
    started = time.perf_counter()
    for sample, truth in zip(samples, truths, strict=True):
        image = sample.load_image()
        found = detector.detect(image, score_threshold=SCORE_THRESHOLD, iou_threshold=DEFAULT_IOU)
        detections.append(_of_labelled_classes(found, sample, labels))
        unusable += count_unusable(truth.boxes, (image.shape[1], image.shape[0]))
        events.image_evaluated()
    seconds = time.perf_counter() - started
    known_boxes = sum(len(truth.boxes) for truth in truths)
    report_unusable("the data set", unusable, known_boxes)  # raises if none can be used
    other_boxes = sum(len(sample.labels) for sample in samples) - known_boxes
    return Evaluation(labels, detections, truths, seconds, other_boxes, unusable)


def _of_labelled_classes(detections: Detections, sample: Sample, labels: Sequence[str]) -> Detections:
    if sample.labelled is None:
        return detections
    labelled = np.array([label in sample.labelled for label in labels], np.bool_)
    return detections[labelled[detections.class_ids]]


def truth_of(sample: Sample, labels: Sequence[str]) -> ImageTruth:
    """Return a sample's boxes of known labels. Boxes of classes that are not exhaustively labelled in the image are difficult."""
    known = np.array([label in labels for label in sample.labels], np.bool_)
    class_ids = np.array([labels.index(label) for label in sample.labels if label in labels], np.int64)
    partial = np.array([sample.labelled is not None and label not in sample.labelled for label in sample.labels], np.bool_)
    ignored = sample.difficult | partial
    return ImageTruth(sample.boxes[known], class_ids, ignored[known])
