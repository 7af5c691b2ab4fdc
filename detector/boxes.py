"""Boxes as arrays: one form (`xyxy`), its conversion to and from centre and size, and IoU."""

import numpy as np

from detector.detections import Boxes


def box_cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """(..., 4) centre x, centre y, width, height -> xmin, ymin, xmax, ymax, in the same unit."""
    half = boxes[..., 2:4] / 2
    return np.concatenate([boxes[..., 0:2] - half, boxes[..., 0:2] + half], axis=-1)


def box_xyxy_to_cxcywh(boxes: Boxes) -> Boxes:
    """(..., 4) xmin, ymin, xmax, ymax -> centre x, centre y, width, height, in the same unit."""
    return np.concatenate([(boxes[..., 0:2] + boxes[..., 2:4]) / 2, boxes[..., 2:4] - boxes[..., 0:2]], axis=-1)


def box_area(boxes: Boxes) -> Boxes:
    """(..., 4) xyxy -> (...) area; zero for an empty or reversed box."""
    sides = np.maximum(boxes[..., 2:4] - boxes[..., 0:2], 0)
    area: Boxes = sides[..., 0] * sides[..., 1]
    return area


def box_iou(first: Boxes, second: Boxes) -> Boxes:
    """(N, 4) and (M, 4) xyxy -> (N, M) intersection over union, 0..1; two empty boxes have 0."""
    low = np.maximum(first[:, None, 0:2], second[None, :, 0:2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    sides = np.maximum(high - low, 0)  # (N, M, 2)
    shared = sides[..., 0] * sides[..., 1]
    union = box_area(first)[:, None] + box_area(second)[None, :] - shared
    iou: Boxes = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou
