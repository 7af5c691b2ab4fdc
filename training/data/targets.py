"""Boxes -> what the network should say, dense over its outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import ceil
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from detector.boxes import box_area
from detector.detections import Boxes
from detector.grid import encode, shape_iou
from detector.spec import ModelSpec


class Role(IntEnum):
    """What training does with a box."""

    OBJECT = 0
    """The network learns it."""
    IGNORED = 1
    """A difficult object: predictions on it are neither rewarded nor penalised."""
    CROWD = 2
    """A region with several objects: predictions inside it are neither rewarded nor penalised."""


@dataclass(frozen=True, eq=False)
class PartialRegion:
    """A part of a picture in which only some classes are exhaustively labelled."""

    box: Boxes  # (4,) xyxy
    labelled: NDArray[np.bool_]  # (C,)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotations of one picture."""

    boxes: Boxes  # (N, 4) xyxy
    class_ids: NDArray[np.int64]  # (N,)
    roles: NDArray[np.int8]  # (N,) a Role each
    partial: tuple[PartialRegion, ...] = ()  # outside of these regions every class is labelled


class Targets(TypedDict):
    """Of one photo; of a batch with N in front."""

    responsible: NDArray[np.float32]  # (G, G, A) 1 where a cell and anchor is responsible for a box
    boxes: NDArray[np.float32]  # (G, G, A, 4) that box, xyxy, network pixels; zeros elsewhere
    logits: NDArray[np.float32]  # (G, G, A, 4) x, y, w, h as the network has to say it
    class_ids: NDArray[np.int32]  # (G, G, A) its class
    truth: NDArray[np.float32]  # (M, 4) all boxes, difficult ones included, filled up with empty ones
    crowds: NDArray[np.float32]  # (K, 4) crowd regions, filled up with empty ones
    labelled: NDArray[np.float32]  # (G, G, C) 1 where the class is exhaustively labelled in the whole cell


def dense_targets(
    boxes: Boxes,
    class_ids: NDArray[np.int64],
    spec: ModelSpec,
    most: int,
    *,
    roles: NDArray[np.int8] | None = None,
    partial: Sequence[PartialRegion] = (),
    most_crowds: int = 0,
    assign_iou: float = 1.0,
) -> Targets:
    """(N, 4) xyxy, network pixels, and (N,) classes, N at most `most` -> targets for the spec's grid and anchors.

    roles: (N,), all objects if not given; partial: regions in network pixels; most_crowds: the length of `crowds`.

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
        "crowds": np.zeros((most_crowds, 4), np.float32),
        "labelled": labelled_cells(partial, spec),
    }
    if roles is not None:
        crowds, ignored, learned = (boxes[roles == role] for role in (Role.CROWD, Role.IGNORED, Role.OBJECT))
        targets["crowds"][: len(crowds)] = crowds
        targets["truth"][len(learned) : len(learned) + len(ignored)] = ignored
        boxes, class_ids = learned, class_ids[roles == Role.OBJECT]
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


def labelled_cells(partial: Sequence[PartialRegion], spec: ModelSpec) -> NDArray[np.float32]:
    """Return (G, G, C): 1 where a class is labelled in every region that reaches into the cell, else 0."""
    cells = np.ones((spec.grid, spec.grid, len(spec.labels)), np.float32)
    for region in partial:
        x0, y0, x1, y1 = np.clip(region.box / spec.stride, 0, spec.grid)  # in cells
        cells[int(y0) : ceil(y1), int(x0) : ceil(x1)] *= region.labelled
    return cells
