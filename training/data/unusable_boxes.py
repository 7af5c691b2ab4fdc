"""Ground-truth boxes that training cannot use: reversed, empty, or outside of their image."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.messages import count_of
from training.data.exif_orientation import ExifFrame, Size
from training.data.voc_reader import Sample
from training.errors import DatasetError

BOX_TOLERANCE = 1e-3  # Image pixels. Boxes that differ by less are equal.
MIN_BOX_SIDE = 1.0
"""Image pixels. A box of at most this width or height is an accidental click. With xmin 5 and xmax 5, for example, it has one pixel in
VOC, and none in 0-based tools."""

BoxProblem = Literal["reversed", "empty", "outside of the image"]


def too_thin(boxes: Boxes) -> NDArray[np.bool_]:
    """Return a mask (N,) of the boxes (N, 4) xyxy that have a side of at most one pixel."""
    thin: NDArray[np.bool_] = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) <= MIN_BOX_SIDE + BOX_TOLERANCE
    return thin


def unusable_boxes(boxes: Boxes, size: Size) -> dict[BoxProblem, NDArray[np.bool_]]:
    """Return a mask (N,) for each problem: the boxes (N, 4) xyxy that have it. A box has at most one problem.

    Args:
        boxes: Image pixels.
        size: Width and height of the upright image.
    """
    is_reversed = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    is_empty = too_thin(boxes) & ~is_reversed
    clipped = np.clip(boxes, 0, np.array([*size, *size], np.float32))
    return {"reversed": is_reversed, "empty": is_empty, "outside of the image": too_thin(clipped) & ~is_reversed & ~is_empty}


def count_unusable(boxes: Boxes, size: Size) -> Counter[str]:
    """Return the number of boxes with each problem."""
    return Counter({problem: int(mask.sum()) for problem, mask in unusable_boxes(boxes, size).items() if mask.any()})


def check_boxes(name: str, samples: Sequence[Sample], labels: Sequence[str]) -> str | None:
    """Check the boxes of an image set.

    Args:
        name: Name of the set.
        samples: Samples of the set.
        labels: Only boxes of these labels count.

    Returns:
        A warning with the number of unusable boxes, or None if all can be used.

    Raises:
        DatasetError: None of the boxes can be used, or an image cannot be read.
        OSError: An image cannot be read.
    """
    unusable: Counter[str] = Counter()
    total = 0
    for sample in samples:
        boxes = sample.boxes[np.array([label in labels for label in sample.labels], np.bool_)]
        if len(boxes):
            unusable += count_unusable(boxes, ExifFrame.read(sample.image_path).upright)
            total += len(boxes)
    return report_unusable(f"set {name}", unusable, total)


def report_unusable(what: str, unusable: Counter[str], total: int) -> str | None:
    """Return a warning about unusable boxes, or None if all boxes are usable. Raises DatasetError if all boxes are unusable."""
    if not unusable:
        return None
    details = ", ".join(f"{number} {problem}" for problem, number in unusable.items())
    sentence = f"{what}: {unusable.total()} of {count_of(total, 'box')} cannot be used ({details})."
    advice = "`boxwright data check` lists them, and --fix repairs what can be repaired."
    if unusable.total() == total:
        raise DatasetError(f"{sentence} No box is left. {advice}")
    return f"{sentence} {advice}"
