"""Detections: boxes with scores and classes, validated when they are created."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""(N, 4) float32: xmin, ymin, xmax, ymax, continuous pixel edges (0 is the left edge of the first pixel, W the right edge of the last)."""
Corners = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax of one box."""


@dataclass(frozen=True)
class Detection:
    """One box with its score and class."""

    box: Corners
    score: float  # 0..1
    class_id: int


@dataclass(frozen=True, eq=False)
class Detections:
    """N boxes with scores and classes. `nms.suppress` sorts them by score, best first."""

    boxes: Boxes  # (N, 4)
    scores: NDArray[np.float32]  # (N,) 0..1
    class_ids: NDArray[np.int64]  # (N,)

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or self.class_ids.shape != (count,):
            raise ValueError(
                "Detections needs boxes (N, 4), scores (N,) and class_ids (N,); "
                f"got {self.boxes.shape}, {self.scores.shape} and {self.class_ids.shape}."
            )

    @classmethod
    def empty(cls) -> "Detections":
        """Return zero detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for (x0, y0, x1, y1), score, class_id in zip(self.boxes.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True):
            yield Detection((x0, y0, x1, y1), score, class_id)

    def __getitem__(self, index: slice | NDArray[np.bool_] | NDArray[np.intp]) -> "Detections":
        return Detections(self.boxes[index], self.scores[index], self.class_ids[index])

    def moved(self, transform: Callable[[Boxes], Boxes]) -> "Detections":
        """Return the detections with transformed boxes, for example by `placement.to_image`."""
        return Detections(transform(self.boxes), self.scores, self.class_ids)

    def clipped(self, width: int, height: int) -> "Detections":
        """Return the detections with boxes clipped to an image of `width` x `height` pixels."""
        return Detections(np.clip(self.boxes, 0, np.array([width, height, width, height], np.float32)), self.scores, self.class_ids)
