"""Ground truth of an image in the form that training uses."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from training.data.voc_reader import Sample

WHOLE_IMAGE = np.array([-np.inf, -np.inf, np.inf, np.inf], np.float32)
"""The box of a region that covers every view of the image completely."""


class Role(IntEnum):
    """How training uses a box."""

    OBJECT = 0  # The network learns it.
    IGNORED = 1  # A difficult object: predictions of it are neither rewarded nor penalised.
    CROWD = 2  # A region with several objects: predictions inside it are neither rewarded nor penalised.


@dataclass(frozen=True, eq=False)
class PartialRegion:
    """A part of an image in which only some classes are exhaustively labelled."""

    box: Boxes  # (4,) xyxy
    labelled: NDArray[np.bool_]  # (C,)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotations of one image."""

    boxes: Boxes  # (N, 4) xyxy
    class_ids: NDArray[np.int64]  # (N,)
    roles: NDArray[np.int8]  # (N,) a Role each
    partial: tuple[PartialRegion, ...] = ()  # outside of these regions every class is labelled


def ground_truth(sample: Sample, labels: Sequence[str], difficult: str) -> GroundTruth:
    """Return a sample's ground truth for training, in image pixels.

    Args:
        sample: The sample.
        labels: Labels to learn; other boxes are dropped.
        difficult: The option `Config.difficult`.
    """
    used = np.array([label in labels for label in sample.labels], np.bool_)
    if difficult == "background":
        used &= ~sample.difficult
    roles = np.zeros(len(used), np.int8)
    if difficult == "ignore":
        roles = np.where(sample.crowd, Role.CROWD, np.where(sample.difficult, Role.IGNORED, Role.OBJECT)).astype(np.int8)
    class_ids = np.array([labels.index(label) for label, is_used in zip(sample.labels, used, strict=True) if is_used], np.int64)
    partial: tuple[PartialRegion, ...] = ()
    if sample.labelled is not None and not sample.labelled.issuperset(labels):
        partial = (PartialRegion(WHOLE_IMAGE, np.array([label in sample.labelled for label in labels], np.bool_)),)
    return GroundTruth(sample.boxes[used], class_ids, roles[used], partial)
