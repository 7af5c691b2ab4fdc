"""The answers of N photos as arrays: the protocols that speak in tensors want rectangles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.inference.pipeline import Answer

NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class Padded:
    """N photos, M the most boxes that one of them has; after its own come zeros, `NO_CLASS` and empty labels, never counted."""

    boxes: NDArray[np.float32]  # (N, M, 4) xmin, ymin, xmax, ymax, pixels of the upright photo
    scores: NDArray[np.float32]  # (N, M) 0..1, best first
    class_ids: NDArray[np.int32]  # (N, M)
    labels: NDArray[Any]  # (N, M) str
    counts: NDArray[np.int32]  # (N,)
    sizes: NDArray[np.float32]  # (N, 2) width, height of the upright photo, pixels

    @classmethod
    def of(cls, answers: Sequence[Answer], labels: Sequence[str]) -> "Padded":
        """From the answers of one model, whose labels these are."""
        counts = np.array([len(answer.detections) for answer in answers], np.int32)
        shape = (len(answers), int(counts.max(initial=0)))
        boxes, scores = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)
        class_ids, names = np.full(shape, NO_CLASS, np.int32), np.full(shape, "", object)
        for row, answer in enumerate(answers):
            found = answer.detections
            boxes[row, : len(found)], scores[row, : len(found)] = found.boxes, found.scores
            class_ids[row, : len(found)] = found.class_ids
            names[row, : len(found)] = [labels[class_id] for class_id in found.class_ids]
        sizes = np.array([(answer.width, answer.height) for answer in answers], np.float32).reshape(-1, 2)
        return cls(boxes, scores, class_ids, names, counts, sizes)
