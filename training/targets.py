"""Boxes -> what the network should say, dense over its outputs."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from detector.boxes import box_area
from detector.detections import Boxes
from detector.grid import encode, shape_iou
from detector.spec import ModelSpec


class Targets(TypedDict):
    """Of one photo; of a batch with N in front."""

    responsible: NDArray[np.float32]  # (G, G, A) 1 where a cell and anchor is responsible for a box
    boxes: NDArray[np.float32]  # (G, G, A, 4) that box, xyxy, network pixels; zeros elsewhere
    logits: NDArray[np.float32]  # (G, G, A, 4) x, y, w, h as the network has to say it
    class_ids: NDArray[np.int32]  # (G, G, A) its class
    truth: NDArray[np.float32]  # (M, 4) all boxes, filled up with empty ones


def dense_targets(boxes: Boxes, class_ids: NDArray[np.int64], spec: ModelSpec, most: int, assign_iou: float = 1.0) -> Targets:
    """(N, 4) xyxy, network pixels, and (N,) classes, N at most `most` -> targets for the spec's grid and anchors.

    Of two boxes that want the same cell and anchor the larger one gets it, as the smaller is more often hidden by it. The other
    one is not told to the network; it is still in `truth`, so that finding it is no mistake.

    assign_iou: Other anchors of a box's cell are responsible for it, too, if their shape's IoU with it is above this and no other box
    has them for its best anchor.
    """
    grid, anchors = spec.grid, len(spec.anchors)
    targets: Targets = {
        "responsible": np.zeros((grid, grid, anchors), np.float32),
        "boxes": np.zeros((grid, grid, anchors, 4), np.float32),
        "logits": np.zeros((grid, grid, anchors, 4), np.float32),
        "class_ids": np.zeros((grid, grid, anchors), np.int32),
        "truth": np.zeros((most, 4), np.float32),
    }
    rising = np.argsort(box_area(boxes), kind="stable")  # of several writes to one place the last stays
    boxes, class_ids = boxes[rising], class_ids[rising]
    best = encode(boxes, spec.anchors, grid=grid, stride=spec.stride)
    sizes = (boxes[:, 2:4] - boxes[:, 0:2]) / np.float32(spec.stride)
    alike, others = np.nonzero(shape_iou(sizes, np.array(spec.anchors, np.float32)) > assign_iou)  # box, anchor
    more = encode(boxes[alike], spec.anchors, grid=grid, stride=spec.stride, chosen=others)
    for index, encoded in ((alike, more), (np.arange(len(boxes)), best)):  # the best anchors are written last
        place = (encoded.rows, encoded.columns, encoded.anchors)
        targets["responsible"][place] = 1
        targets["boxes"][place] = boxes[index]
        targets["logits"][place] = encoded.logits
        targets["class_ids"][place] = class_ids[index]
    targets["truth"][: len(boxes)] = boxes
    return targets
