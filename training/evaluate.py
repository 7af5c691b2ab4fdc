"""How good a detector is on a data set: the measurement behind every AP that we quote."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from detector.detections import Detections
from detector.detector import DEFAULT_IOU, Detector
from detector.image import read_image
from training.errors import DatasetError
from training.mean_ap import ClassResult, Truth, evaluate_class, mean
from training.voc import Sample

SCORE_THRESHOLD = 0.005
"""Low, so that the curve is whole; Darknet's `detector valid` uses it too (examples/detector.c)."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One detector on one data set, IoU at least 0.5."""

    classes: dict[str, ClassResult]  # by label, those of which there is something to be found
    photos: int
    seconds: float  # of detection alone, reading of files included
    other_boxes: int  # boxes of labels that the model does not know, left out

    @property
    def ap50(self) -> float:
        """Mean of the classes' areas under the curve."""
        return mean([result.ap for result in self.classes.values()])

    @property
    def ap50_11_point(self) -> float:
        """Mean of the classes' eleven-point AP (VOC 2007)."""
        return mean([result.ap_11_point for result in self.classes.values()])


def evaluate(detector: Detector, samples: Sequence[Sample], *, advance: Callable[[], object] = lambda: None) -> Evaluation:
    """Run the detector over the samples (score 0.005, NMS 0.45) and compare. `advance` is called after each photo."""
    if not samples:
        raise DatasetError("there is no sample to evaluate on.")
    started = time.perf_counter()
    found = list(_found(detector, samples, advance))
    seconds = time.perf_counter() - started
    labels = detector.spec.labels
    truths = [truth_of(sample, labels) for sample in samples]
    results = {label: evaluate_class(found, truths, class_id) for class_id, label in enumerate(labels)}
    known = {label: result for label, result in results.items() if result.boxes}
    total = sum(len(sample.labels) for sample in samples)
    return Evaluation(known, len(samples), seconds, total - sum(len(truth.boxes) for truth in truths))


def _found(detector: Detector, samples: Sequence[Sample], advance: Callable[[], object]) -> Iterable[Detections]:
    for sample in samples:
        image = read_image(sample.photo.read_bytes())
        yield detector.detect(image, score_threshold=SCORE_THRESHOLD, iou_threshold=DEFAULT_IOU)
        advance()


def truth_of(sample: Sample, labels: Sequence[str]) -> Truth:
    """The sample's boxes of known labels, as class ids."""
    known = np.array([label in labels for label in sample.labels], np.bool_)
    class_ids = np.array([labels.index(label) for label in sample.labels if label in labels], np.int64)
    return Truth(sample.boxes[known], class_ids, sample.difficult[known])
