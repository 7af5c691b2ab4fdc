"""Boxes as arrays: one form (`xyxy`), its conversion to and from centre and size, and IoU.

`xp` is the namespace that computes: numpy, or `keras.ops` where training needs the same formula on tensors and its gradient.
"""

from typing import Any

import numpy as np

from detector.detections import Boxes

SMALLEST_UNION = 1e-12
"""Divides instead of a union of nothing, so that two empty boxes have an IoU of 0."""


def box_cxcywh_to_xyxy(boxes: Any, xp: Any = np) -> Any:
    """(..., 4) centre x, centre y, width, height -> xmin, ymin, xmax, ymax, in the same unit."""
    half = boxes[..., 2:4] / 2
    return xp.concatenate([boxes[..., 0:2] - half, boxes[..., 0:2] + half], axis=-1)


def box_xyxy_to_cxcywh(boxes: Any, xp: Any = np) -> Any:
    """(..., 4) xmin, ymin, xmax, ymax -> centre x, centre y, width, height, in the same unit."""
    return xp.concatenate([(boxes[..., 0:2] + boxes[..., 2:4]) / 2, boxes[..., 2:4] - boxes[..., 0:2]], axis=-1)


def box_area(boxes: Any, xp: Any = np) -> Any:
    """(..., 4) xyxy -> (...) area; zero for an empty or reversed box."""
    sides = xp.maximum(boxes[..., 2:4] - boxes[..., 0:2], 0)
    return sides[..., 0] * sides[..., 1]


def broadcast_iou(first: Any, second: Any, xp: Any = np) -> Any:
    """(..., 4) and (..., 4) xyxy -> (...) intersection over union, 0..1, by numpy's rules of broadcasting; two empty boxes have 0."""
    shared = _shared(first, second, xp)
    return shared / xp.maximum(box_area(first, xp) + box_area(second, xp) - shared, SMALLEST_UNION)


def broadcast_coverage(first: Any, second: Any, xp: Any = np) -> Any:
    """(..., 4) and (..., 4) xyxy -> (...) the part of the first box's area that the second covers, 0..1; 0 for an empty first box."""
    return _shared(first, second, xp) / xp.maximum(box_area(first, xp), SMALLEST_UNION)


def _shared(first: Any, second: Any, xp: Any) -> Any:
    sides = xp.maximum(xp.minimum(first[..., 2:4], second[..., 2:4]) - xp.maximum(first[..., 0:2], second[..., 0:2]), 0)  # (..., 2)
    return sides[..., 0] * sides[..., 1]


def box_iou(first: Boxes, second: Boxes) -> Boxes:
    """(N, 4) and (M, 4) xyxy -> (N, M) IoU of every box of the first with every one of the second."""
    iou: Boxes = broadcast_iou(first[:, None], second[None, :])
    return iou
