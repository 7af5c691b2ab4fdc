"""Logits <-> boxes: the only module that handles grid cells and anchors (YOLO9000, section 2, "direct location prediction")."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.boxes.geometry import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh

Logits = NDArray[np.float32]  # (G, G, A, 5 + C) logits: row, column, anchor; x, y, w, h, objectness, classes.
Anchors = tuple[tuple[float, float], ...]  # (w, h) in grid cells.

SIZE_LOGIT_LIMIT = 10.0
"""Limit of the w and h logits before exp, so that nothing overflows. A box of e^10 times its anchor's size covers every image."""


def decode(logits: Logits, anchors: Anchors, stride: int, *, above: float = -1.0) -> tuple[Boxes, NDArray[np.float32]]:
    """Decode the logits of one image.

    Args:
        logits: (G, G, A, 5 + C).
        anchors: A anchors, (w, h) in grid cells.
        stride: Side of a grid cell in network pixels.
        above: Skip boxes with an objectness at or below this value. Their scores cannot exceed it either.

    Returns:
        Boxes (N, 4) xyxy in network pixels, which may reach beyond the image, and scores (N, C), objectness times class
        probability, 0..1. Both are in grid order. N is G*G*A without `above`.
    """
    objectness = sigmoid(logits[..., 4])  # (G, G, A)
    candidates = np.argwhere(objectness > above)  # (N, 3) row, column, anchor
    indices = tuple(candidates.T)
    selected = logits[indices]  # (N, 5 + C)
    scores: NDArray[np.float32] = objectness[indices][:, None] * softmax(selected[:, 5:])
    cells, anchor_sizes = candidates[:, 1::-1].astype(logits.dtype), np.array(anchors, logits.dtype)[candidates[:, 2]]
    boxes: Boxes = _decode_boxes(selected, cells, anchor_sizes, stride)
    return boxes.astype(np.float32), scores


def decode_boxes(logits: Any, anchors: Anchors, stride: int, xp: Any = np) -> Any:
    """Decode all boxes of a batch: logits (..., G, G, A, 4 or more) -> boxes (..., G, G, A, 4) xyxy in network pixels.

    Args:
        logits: An array, or a tensor if `xp` is `keras.ops`.
        anchors: A anchors, (w, h) in grid cells.
        stride: Side of a grid cell in network pixels.
        xp: Array namespace.
    """
    rows, columns = logits.shape[-4:-2]
    cell = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)[:, :, None, :]  # (G, G, 1, 2) x, y
    return _decode_boxes(logits, xp.array(cell, dtype=logits.dtype), xp.array(anchors, dtype=logits.dtype), stride, xp)


def _decode_boxes(logits: Any, cells: Any, anchor_sizes: Any, stride: int, xp: Any = np) -> Any:
    """Logits (..., 4 or more), their cells (..., 2) x, y and anchors (..., 2) -> boxes (..., 4) xyxy in network pixels."""
    centre = (cells + sigmoid(logits[..., 0:2], xp)) * stride  # (..., 2) x, y, network pixels
    size = xp.exp(xp.clip(logits[..., 2:4], -SIZE_LOGIT_LIMIT, SIZE_LOGIT_LIMIT)) * anchor_sizes * stride  # (..., 2) w, h, network pixels
    return box_cxcywh_to_xyxy(xp.concatenate([centre, size], axis=-1), xp)


@dataclass(frozen=True)
class EncodedBoxes:
    """N ground-truth boxes as network outputs."""

    rows: NDArray[np.intp]  # (N,) cell of the box's centre
    columns: NDArray[np.intp]  # (N,)
    anchors: NDArray[np.intp]  # (N,) the anchor of most similar shape, or the chosen one
    logits: NDArray[np.float32]  # (N, 4) x, y, w, h


def encode(boxes: Boxes, anchors: Anchors, *, grid: int, stride: int, chosen: NDArray[np.intp] | None = None) -> EncodedBoxes:
    """Assign ground-truth boxes to cells and anchors; the inverse of `decode`.

    The anchor is the one with the highest IoU when both are centred on one point (YOLO9000, section 2). Two boxes may get the
    same cell and anchor; the caller decides which of them is used.

    Args:
        boxes: (N, 4) xyxy in network pixels, not empty, with centres inside the network's input.
        anchors: A anchors, (w, h) in grid cells.
        grid: Cells along a side.
        stride: Side of a cell in network pixels.
        chosen: (N,) indices of anchors to use instead of the most similar ones.
    """
    cxcywh: Boxes = box_xyxy_to_cxcywh(boxes) / np.float32(stride)  # grid cells
    anchor_sizes = np.array(anchors, np.float32)  # (A, 2)
    columns, rows = np.clip(np.floor(cxcywh[:, 0:2]).astype(np.intp), 0, grid - 1).T
    best = np.argmax(shape_iou(cxcywh[:, 2:4], anchor_sizes), axis=1) if chosen is None else chosen
    inside = cxcywh[:, 0:2] - np.stack([columns, rows], axis=-1)  # 0..1
    logits = np.concatenate([logit(inside), np.log(cxcywh[:, 2:4] / anchor_sizes[best])], axis=-1)
    return EncodedBoxes(rows, columns, best, logits.astype(np.float32))


def shape_iou(sizes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 2) and (A, 2) widths and heights -> (N, A) IoU of boxes centred on one point."""
    intersection = np.minimum(sizes[:, None], anchors[None]).prod(axis=-1)
    iou: NDArray[np.float32] = intersection / (sizes.prod(axis=-1)[:, None] + anchors.prod(axis=-1)[None] - intersection)
    return iou


def sigmoid(x: Any, xp: Any = np) -> Any:
    """1 / (1 + exp(-x)) in a form that does not overflow."""
    return 0.5 * (xp.tanh(0.5 * x) + 1)


def logit(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `sigmoid`. p is clipped to 1e-6 .. 1 - 1e-6, because 0 and 1 have infinite logits."""
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    x: NDArray[np.float32] = np.log(inside / (1 - inside))
    return x


def softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
