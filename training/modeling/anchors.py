"""Cluster box sizes to anchors: k-means with 1 - IoU as the distance (YOLO9000, section 2, "dimension clusters") and medians as centres."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.boxes.grid import Anchors, shape_iou
from detector.boxes.placement import Placement
from detector.messages import count_of
from detector.network.spec import ModelSpec
from training.data.exif_orientation import ExifFrame
from training.data.voc_reader import Sample
from training.errors import DatasetError

MAX_ITERATIONS = 300


def cluster_anchors(sizes: NDArray[np.float32], count: int, seed: int) -> Anchors:
    """Return `count` anchors (width, height), sorted by area.

    Args:
        sizes: (N, 2) widths and heights of boxes. The anchors have the same unit.
        count: Number of anchors.
        seed: Seed of the random initial centres.

    Raises:
        DatasetError: There are fewer different sizes than anchors.
    """
    if len(np.unique(sizes, axis=0)) < count:
        raise DatasetError(
            f"{count_of(count, 'anchor')} cannot be made from {count_of(len(np.unique(sizes, axis=0)), 'different box size')}. "
            "Use --anchors keep, or a smaller --anchor-count for a new head."
        )
    rng = np.random.default_rng(seed)
    centres = _initial_centres(sizes, count, rng)
    nearest = np.full(len(sizes), -1)
    for _ in range(MAX_ITERATIONS):
        previous, nearest = nearest, shape_iou(sizes, centres).argmax(axis=1)
        if (previous == nearest).all():
            break
        for cluster in np.unique(nearest):  # an empty cluster keeps its centre
            centres[cluster] = np.median(sizes[nearest == cluster], axis=0)
    ordered = centres[np.argsort(centres.prod(axis=1), kind="stable")]
    return tuple((float(width), float(height)) for width, height in ordered)


def _initial_centres(sizes: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw initial centres from the boxes, with a probability that grows with the distance from earlier centres (k-means++)."""
    centres: NDArray[np.float32] = sizes[rng.integers(len(sizes))][None]
    while len(centres) < count:
        distance = np.maximum(1 - shape_iou(sizes, centres).max(axis=1), 0) ** 2
        index = rng.choice(len(sizes), p=distance / distance.sum())
        centres = np.concatenate([centres, sizes[index][None]])
    return centres


def box_sizes(samples: Sequence[Sample], spec: ModelSpec, stride: int) -> NDArray[np.float32]:
    """Return widths and heights (N, 2) of all boxes in the network's input, in grid cells. Crowds and empty boxes are omitted.

    Args:
        samples: The training set.
        spec: The model, which determines how images are resized.
        stride: Network pixels per grid cell.

    Raises:
        DatasetError: An image cannot be read.
    """
    sizes = [_network_sizes(sample, spec) for sample in samples if len(sample.boxes)]
    return np.concatenate([np.zeros((0, 2), np.float32), *sizes]).astype(np.float32) / np.float32(stride)


def _network_sizes(sample: Sample, spec: ModelSpec) -> NDArray[np.float32]:
    boxes = Placement.of(spec, *ExifFrame.read(sample.image_path).upright).to_network(sample.boxes[~sample.crowd])
    sizes: NDArray[np.float32] = boxes[:, 2:4] - boxes[:, 0:2]
    return sizes[(sizes > 0).all(axis=1)]
