"""Options and results of a detection request."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Detections
from detector.detector import DEFAULT_IOU, DEFAULT_SCORE, ScoreThreshold
from detector.imaging.encode import EncodedImage, MediaType

MAX_DETECTIONS = 100  # Default limit of detections per image.

NO_CLASS = -1  # Class id of the padding rows of `DetectionTensors`.


@dataclass(frozen=True)
class InferenceOptions:
    """Options that select detections. `class_ids=None` means all classes."""

    score_threshold: ScoreThreshold = DEFAULT_SCORE
    iou_threshold: float = DEFAULT_IOU
    class_ids: Collection[int] | None = None
    max_detections: int = MAX_DETECTIONS
    draw: MediaType | None = None  # also return the image with the boxes drawn on it, in this format


@dataclass(frozen=True)
class InferenceResult:
    """The detections in one upright image of `width` x `height` pixels."""

    width: int
    height: int
    detections: Detections
    annotated: EncodedImage | None
    timing_ms: dict[str, float]  # milliseconds by stage, and "total"
    annotated_scale: float = 1.0  # width of the annotated image / width of the image; below 1 for images above MAX_DRAWN_PIXELS


@dataclass(frozen=True, eq=False)
class DetectionTensors:
    """The detections in N images as rectangular arrays, for the tensor protocols.

    M is the largest number of detections in one image. Shorter rows are padded with zeros, `NO_CLASS` and empty labels.
    """

    boxes: NDArray[np.float32]  # (N, M, 4) xmin, ymin, xmax, ymax, pixels of the upright image
    scores: NDArray[np.float32]  # (N, M) 0..1, best first
    class_ids: NDArray[np.int32]  # (N, M)
    labels: NDArray[Any]  # (N, M) str
    counts: NDArray[np.int32]  # (N,) detections without the padding
    sizes: NDArray[np.float32]  # (N, 2) width, height of the upright image, pixels

    @classmethod
    def from_results(cls, results: Sequence[InferenceResult], labels: Sequence[str]) -> Self:
        """Pad the results of one model. `labels` are the labels of this model."""
        counts = np.array([len(result.detections) for result in results], np.int32)
        shape = (len(results), int(counts.max(initial=0)))
        boxes, scores = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)
        class_ids, names = np.full(shape, NO_CLASS, np.int32), np.full(shape, "", object)
        for row, result in enumerate(results):
            detections = result.detections
            boxes[row, : len(detections)], scores[row, : len(detections)] = detections.boxes, detections.scores
            class_ids[row, : len(detections)] = detections.class_ids
            names[row, : len(detections)] = [labels[class_id] for class_id in detections.class_ids]
        sizes = np.array([(result.width, result.height) for result in results], np.float32).reshape(-1, 2)
        return cls(boxes, scores, class_ids, names, counts, sizes)
