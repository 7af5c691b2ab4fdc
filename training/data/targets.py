"""Training targets: the ground truth as dense arrays over the network's outputs."""

from collections.abc import Sequence
from math import ceil
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from detector.boxes.geometry import box_area
from detector.boxes.grid import encode, shape_iou
from detector.network.spec import ModelSpec
from training.data.ground_truth import GroundTruth, PartialRegion, Role


class Targets(TypedDict):
    """Targets of one image; of a batch with a leading dimension N."""

    responsible: NDArray[np.float32]  # (G, G, A) 1 where the prediction of that cell and anchor is responsible for a box
    boxes: NDArray[np.float32]  # (G, G, A, 4) that box, xyxy, network pixels; zeros elsewhere
    logits: NDArray[np.float32]  # (G, G, A, 4) its x, y, w, h as network outputs
    class_ids: NDArray[np.int32]  # (G, G, A) its class
    truth: NDArray[np.float32]  # (M, 4) all boxes, including difficult ones, padded with empty ones
    truth_class_ids: NDArray[np.int32]  # (M,) their classes; -1 for difficult boxes and padding
    crowds: NDArray[np.float32]  # (K, 4) crowd regions, padded with empty ones
    labelled: NDArray[np.float32]  # (G, G, C) 1 where the class is exhaustively labelled in the complete cell


def dense_targets(truth: GroundTruth, spec: ModelSpec, *, max_boxes: int, max_crowds: int = 0, assign_iou: float = 1.0) -> Targets:
    """Return the targets of one image for the spec's grid and anchors.

    If two boxes have the same cell and anchor, the smaller one is not assigned, because the larger one often hides it. It stays in `truth`,
    so that detecting it is not penalised.

    Args:
        truth: Ground truth in network pixels.
        spec: The network.
        max_boxes: Length of `truth`; at least the number of boxes.
        max_crowds: Length of `crowds`.
        assign_iou: All anchors of a box's cell are responsible for the box if their shape IoU with it is higher than this, except the
            best anchors of other boxes.
    """
    targets = _empty_targets(spec, max_boxes, max_crowds)
    targets["labelled"] = labelled_cells(truth.partial, spec)
    crowds, ignored, boxes = (truth.boxes[truth.roles == role] for role in (Role.CROWD, Role.IGNORED, Role.OBJECT))
    class_ids = truth.class_ids[truth.roles == Role.OBJECT]
    targets["crowds"][: len(crowds)] = crowds
    targets["truth"][len(boxes) : len(boxes) + len(ignored)] = ignored
    by_area = np.argsort(box_area(boxes), kind="stable")  # the last of several boxes with the same cell and anchor is assigned
    boxes, class_ids = boxes[by_area], class_ids[by_area]
    best = encode(boxes, spec.anchors, grid=spec.grid, stride=spec.stride)
    sizes = (boxes[:, 2:4] - boxes[:, 0:2]) / np.float32(spec.stride)
    similar, other_anchors = np.nonzero(shape_iou(sizes, np.array(spec.anchors, np.float32)) > assign_iou)  # indices of box and anchor
    further = encode(boxes[similar], spec.anchors, grid=spec.grid, stride=spec.stride, chosen=other_anchors)
    for index, encoded in ((similar, further), (np.arange(len(boxes)), best)):  # the best anchors are written last
        cell = (encoded.rows, encoded.columns, encoded.anchors)
        targets["responsible"][cell] = 1
        targets["boxes"][cell] = boxes[index]
        targets["logits"][cell] = encoded.logits
        targets["class_ids"][cell] = class_ids[index]
    targets["truth"][: len(boxes)] = boxes
    targets["truth_class_ids"][: len(boxes)] = class_ids
    return targets


def _empty_targets(spec: ModelSpec, max_boxes: int, max_crowds: int) -> Targets:
    grid, anchors = spec.grid, len(spec.anchors)
    return {
        "responsible": np.zeros((grid, grid, anchors), np.float32),
        "boxes": np.zeros((grid, grid, anchors, 4), np.float32),
        "logits": np.zeros((grid, grid, anchors, 4), np.float32),
        "class_ids": np.zeros((grid, grid, anchors), np.int32),
        "truth": np.zeros((max_boxes, 4), np.float32),
        "truth_class_ids": np.full(max_boxes, -1, np.int32),
        "crowds": np.zeros((max_crowds, 4), np.float32),
        "labelled": np.ones((grid, grid, len(spec.labels)), np.float32),
    }


def labelled_cells(partial: Sequence[PartialRegion], spec: ModelSpec) -> NDArray[np.float32]:
    """Return (G, G, C): 1 where a class is labelled in every region that overlaps the cell, else 0."""
    cells = np.ones((spec.grid, spec.grid, len(spec.labels)), np.float32)
    for region in partial:
        x0, y0, x1, y1 = np.clip(region.box / spec.stride, 0, spec.grid)  # in cells
        cells[int(y0) : ceil(y1), int(x0) : ceil(x1)] *= region.labelled
    return cells
