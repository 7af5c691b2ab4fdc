"""Box arrays in one form (`xyxy`): conversion to and from centre and size, area and IoU.

The `xp` argument is the array namespace: numpy, or `keras.ops` where training needs the same formula on tensors.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes

MIN_UNION = 1e-12  # Lower limit of the union, so that two empty boxes have an IoU of 0 instead of NaN.


def box_cxcywh_to_xyxy(boxes: Any, xp: Any = np) -> Any:
    """(..., 4) centre x, centre y, width, height -> xmin, ymin, xmax, ymax, in the same unit."""
    half = boxes[..., 2:4] / 2
    return xp.concatenate([boxes[..., 0:2] - half, boxes[..., 0:2] + half], axis=-1)


def box_xyxy_to_cxcywh(boxes: Any, xp: Any = np) -> Any:
    """(..., 4) xmin, ymin, xmax, ymax -> centre x, centre y, width, height, in the same unit."""
    return xp.concatenate([(boxes[..., 0:2] + boxes[..., 2:4]) / 2, boxes[..., 2:4] - boxes[..., 0:2]], axis=-1)


def box_area(boxes: Any, xp: Any = np) -> Any:
    """(..., 4) xyxy -> (...) area. An empty or reversed box has area 0."""
    sides = xp.maximum(boxes[..., 2:4] - boxes[..., 0:2], 0)
    return sides[..., 0] * sides[..., 1]


def broadcast_iou(first: Any, second: Any, xp: Any = np) -> Any:
    """(..., 4) and (..., 4) xyxy -> (...) intersection over union, 0..1, with numpy broadcasting. Two empty boxes have IoU 0."""
    intersection = _intersection(first, second, xp)
    return intersection / xp.maximum(box_area(first, xp) + box_area(second, xp) - intersection, MIN_UNION)


def broadcast_coverage(first: Any, second: Any, xp: Any = np) -> Any:
    """(..., 4) and (..., 4) xyxy -> (...) share of the first box's area that the second box covers, 0..1; 0 for an empty first box."""
    return _intersection(first, second, xp) / xp.maximum(box_area(first, xp), MIN_UNION)


def _intersection(first: Any, second: Any, xp: Any) -> Any:
    sides = xp.maximum(xp.minimum(first[..., 2:4], second[..., 2:4]) - xp.maximum(first[..., 0:2], second[..., 0:2]), 0)  # (..., 2)
    return sides[..., 0] * sides[..., 1]


def box_iou(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """(N, 4) and (M, 4) xyxy -> (N, M) IoU of every pair of boxes."""
    iou: NDArray[np.float32] = broadcast_iou(first[:, None], second[None, :])
    return iou
