"""Anchors from boxes: k-means with 1 - IoU as the distance (YOLO9000, section 2, "dimension clusters")."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.grid import Anchors, shape_iou
from detector.placement import Placement
from detector.spec import ModelSpec
from training.data.unusable_boxes import upright_size
from training.data.voc_reader import Sample
from training.errors import DatasetError

MAX_ROUNDS = 300


def cluster_anchors(sizes: NDArray[np.float32], count: int, seed: int) -> Anchors:
    """(N, 2) widths and heights -> `count` anchors (w, h) in the same unit, small to large. Raises DatasetError for too few boxes."""
    if len(np.unique(sizes, axis=0)) < count:
        raise DatasetError(f"{count} anchors need as many boxes of different size, got {len(np.unique(sizes, axis=0))}. Keep the model's.")
    rng = np.random.default_rng(seed)
    centres = _spread(sizes, count, rng)
    nearest = np.full(len(sizes), -1)
    for _ in range(MAX_ROUNDS):
        before, nearest = nearest, shape_iou(sizes, centres).argmax(axis=1)
        if (before == nearest).all():
            break
        for cluster in np.unique(nearest):  # one that has lost all its boxes stays where it is
            centres[cluster] = np.median(sizes[nearest == cluster], axis=0)
    ordered = centres[np.argsort(centres.prod(axis=1), kind="stable")]
    return tuple((float(width), float(height)) for width, height in ordered)


def _spread(sizes: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """First centres: drawn from the boxes, those far from the centres so far the likelier (k-means++)."""
    centres: NDArray[np.float32] = sizes[rng.integers(len(sizes))][None]
    while len(centres) < count:
        distance = np.maximum(1 - shape_iou(sizes, centres).max(axis=1), 0) ** 2
        chosen = rng.choice(len(sizes), p=distance / distance.sum())
        centres = np.concatenate([centres, sizes[chosen][None]])
    return centres


def box_sizes(samples: Sequence[Sample], spec: ModelSpec, stride: int) -> NDArray[np.float32]:
    """(N, 2) widths and heights of all boxes as the model sees them, in grid cells of `stride` pixels; no crowds, no empty boxes."""
    sizes = [_placed(sample, spec) for sample in samples if len(sample.boxes)]
    return np.concatenate([np.zeros((0, 2), np.float32), *sizes]).astype(np.float32) / np.float32(stride)


def _placed(sample: Sample, spec: ModelSpec) -> NDArray[np.float32]:
    boxes = Placement.of(spec, *upright_size(sample)).to_network(sample.boxes[~sample.crowd])
    sizes: NDArray[np.float32] = boxes[:, 2:4] - boxes[:, 0:2]
    return sizes[(sizes > 0).all(axis=1)]
