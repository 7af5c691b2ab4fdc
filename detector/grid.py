"""Raw outputs <-> boxes: the only file that knows grid cells and anchors (YOLO9000, section 2, "direct location prediction")."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from detector.detections import Boxes

Logits = NDArray[np.float32]
"""(G, G, A, 5 + C) logits: row, column, anchor; x, y, w, h, objectness, classes."""
Anchors = tuple[tuple[float, float], ...]
"""(w, h) in grid cells."""

SIZE_LOGIT_LIMIT = 10.0
"""w and h logits are held within +-10 before exp: a box of e^10 anchors covers every photo, and nothing overflows."""


def decode(raw: Logits, anchors: Anchors, stride: int, *, above: float = -1.0) -> tuple[Boxes, NDArray[np.float32]]:
    """Logits (G, G, A, 5 + C) -> boxes (N, 4) xyxy in network pixels, scores (N, C) = objectness * class, 0..1, in the grid's order.

    `stride`: network pixels along a side of a cell. A box may reach beyond the picture. N is G*G*A, or fewer: boxes whose objectness
    is not greater than `above` are left out, as none of their scores could be.
    """
    objectness = sigmoid(raw[..., 4])  # (G, G, A)
    sure = np.argwhere(objectness > above)  # (N, 3) row, column, anchor
    place = tuple(sure.T)
    said = raw[place]  # (N, 5 + C)
    scores: NDArray[np.float32] = objectness[place][:, None] * softmax(said[:, 5:])
    boxes: Boxes = _boxes(said, sure[:, 1::-1].astype(raw.dtype), np.array(anchors, raw.dtype)[sure[:, 2]], stride)
    return boxes.astype(np.float32), scores


def decode_boxes(raw: Any, anchors: Anchors, stride: int, xp: Any = np) -> Any:
    """Logits (..., G, G, A, 4 or more) -> boxes (..., G, G, A, 4) xyxy in network pixels.

    xp: the namespace that computes, numpy, or `keras.ops` where `raw` is a tensor. The type of `raw` is kept.
    """
    rows, columns = raw.shape[-4:-2]
    cell = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)[:, :, None, :]  # (G, G, 1, 2) x, y
    return _boxes(raw, xp.array(cell, dtype=raw.dtype), xp.array(anchors, dtype=raw.dtype), stride, xp)


def _boxes(raw: Any, cell: Any, prior: Any, stride: int, xp: Any = np) -> Any:
    """Logits (..., 4 or more), the cells (..., 2) x, y and anchors (..., 2) they are of -> boxes (..., 4) xyxy in network pixels."""
    centre = (cell + sigmoid(raw[..., 0:2], xp)) * stride  # (..., 2) x, y, network pixels
    size = xp.exp(xp.clip(raw[..., 2:4], -SIZE_LOGIT_LIMIT, SIZE_LOGIT_LIMIT)) * prior * stride  # (..., 2) w, h, network pixels
    return box_cxcywh_to_xyxy(xp.concatenate([centre, size], axis=-1), xp)


@dataclass(frozen=True)
class Encoded:
    """N boxes as a network would have to say them."""

    rows: NDArray[np.intp]  # (N,) cell of the box's centre
    columns: NDArray[np.intp]  # (N,)
    anchors: NDArray[np.intp]  # (N,) the anchor of most alike shape, or the one chosen
    logits: NDArray[np.float32]  # (N, 4) x, y, w, h


def encode(boxes: Boxes, anchors: Anchors, *, grid: int, stride: int, chosen: NDArray[np.intp] | None = None) -> Encoded:
    """(N, 4) xyxy in network pixels, not empty, centre inside the square -> responsible cells and anchors, and logits.

    `decode` undoes it. The anchor is the one with the highest IoU when both are centred on one point (YOLO9000, section 2).
    Two boxes may be given the same place; who wins is for the caller to say. chosen: (N,) other anchors than the best ones.
    """
    cxcywh: Boxes = box_xyxy_to_cxcywh(boxes) / np.float32(stride)  # grid cells
    prior = np.array(anchors, np.float32)  # (A, 2)
    columns, rows = np.clip(np.floor(cxcywh[:, 0:2]).astype(np.intp), 0, grid - 1).T
    best = np.argmax(shape_iou(cxcywh[:, 2:4], prior), axis=1) if chosen is None else chosen
    inside = cxcywh[:, 0:2] - np.stack([columns, rows], axis=-1)  # 0..1
    logits = np.concatenate([logit(inside), np.log(cxcywh[:, 2:4] / prior[best])], axis=-1)
    return Encoded(rows, columns, best, logits.astype(np.float32))


def shape_iou(sizes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 2) and (A, 2) widths and heights -> (N, A) IoU of boxes centred on one point."""
    shared = np.minimum(sizes[:, None], anchors[None]).prod(axis=-1)
    iou: NDArray[np.float32] = shared / (sizes.prod(axis=-1)[:, None] + anchors.prod(axis=-1)[None] - shared)
    return iou


def sigmoid(x: Any, xp: Any = np) -> Any:
    """1 / (1 + exp(-x)) in a form that does not overflow."""
    return 0.5 * (xp.tanh(0.5 * x) + 1)


def logit(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `sigmoid`; 0 and 1 are moved inside by 1e-6, as no finite logit says them."""
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    x: NDArray[np.float32] = np.log(inside / (1 - inside))
    return x


def softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares over the last axis, which sum to 1."""
    shares = np.exp(x - x.max(axis=-1, keepdims=True))
    total: NDArray[np.float32] = shares / shares.sum(axis=-1, keepdims=True)
    return total
