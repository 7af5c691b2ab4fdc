"""Training batches. A batch depends only on the seed and its step.

Therefore the number of threads that prepare batches does not matter, and a resumed run gets the same batches as an uninterrupted one.

While features are cached (see `training.features.cache`), an image has a fixed number of augmented views. They alternate from epoch to
epoch.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil, sqrt
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.boxes.placement import Pixels, Placement
from detector.network.spec import ModelSpec
from training.config.options import Config
from training.data.augment import View, mosaic, random_colour, random_view
from training.data.ground_truth import GroundTruth, ground_truth
from training.data.targets import Targets, dense_targets
from training.data.voc_reader import Sample
from training.distributed.process_group import WHOLE_BATCH, Shard

BATCHES_PER_SIZE = 10  # Multi-scale training keeps an input size for this many batches (YOLO9000, section 2).

_ORDER, _SIZE, _IMAGE, _VIEW = range(4)  # Purposes of random numbers. Each purpose has its own stream.


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """Network input with its ground truth."""

    pixels: Pixels  # (S, S, 3), 0..255
    truth: GroundTruth  # network pixels; no box is empty


class ViewKind(NamedTuple):
    """Properties that all views of one part of the run have in common."""

    size: int  # network pixels
    mosaic: bool  # some views are mosaics of four images


class ViewId(NamedTuple):
    """One of the views of an image."""

    image: int  # index of the sample
    view: int


@dataclass(frozen=True, eq=False)
class Batches:
    """The training set as batches 0, 1, 2, ..., `steps` - 1.

    Batches divide an endless stream of images: all images in a new random order in each epoch. A batch may span two epochs.
    `config.difficult` determines how boxes marked difficult, and crowds, are used.
    """

    samples: Sequence[Sample]
    spec: ModelSpec
    config: Config
    augmented: bool = True
    shard: Shard = WHOLE_BATCH  # the part of every batch that is made here

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches with as many images as the training set, rounded up."""
        return ceil(len(self.samples) / self.config.batch_size)

    @property
    def steps(self) -> int:
        """Number of batches of the complete run."""
        return self.steps_per_epoch * self.config.epochs

    @cached_property
    def max_boxes(self) -> int:
        """Upper limit of the number of boxes in a network input."""
        return max(1, self._tiles * max((len(sample.boxes) for sample in self.samples), default=0))

    @cached_property
    def max_crowds(self) -> int:
        """Upper limit of the number of crowd regions in a network input."""
        ignored = self.config.difficult == "ignore"
        return self._tiles * max((int(sample.crowd.sum()) for sample in self.samples if ignored), default=0)

    @property
    def _tiles(self) -> int:
        return 4 if self.augmented and self.config.mosaic else 1

    def input_size_of(self, step: int) -> int:
        """Return the input size of a batch: the planned size, varied if training is multi-scale; the model's size without augmentation."""
        if not self.augmented:
            return self.spec.input_size
        fraction = step / self.steps
        size = next(size for until, size in self.config.size_plan() if fraction < until)
        variation = self.config.multi_scale
        if not variation:
            return size
        rng = np.random.default_rng([self.config.seed, _SIZE, step // BATCHES_PER_SIZE])
        unit = self.spec.size_multiple
        return max(unit, size + unit * int(rng.integers(-variation, variation + 1)))

    def batch(self, step: int) -> tuple[NDArray[np.float32], Targets]:
        """Return images (B, S, S, 3) in 0..255 and targets (B, ...) of this shard of a batch.

        Raises ImageError if an image cannot be decoded, and OSError if a file cannot be read.
        """
        examples = self.examples(step)
        targets = self.targets([example.truth for example in examples], self.input_size_of(step))
        return np.stack([example.pixels for example in examples]), targets

    def examples(self, step: int) -> list[TrainingExample]:
        """Return the network inputs of a batch, with ground truth. Raises what `batch` raises."""
        return [self._example(position) for position in self._positions(step)]

    def targets(self, truths: Sequence[GroundTruth], size: int) -> Targets:
        """Return the training targets of network inputs of `size` pixels."""
        spec, assign_iou = replace(self.spec, input_size=size), self.config.anchor_iou
        limits = {"max_boxes": self.max_boxes, "max_crowds": self.max_crowds}
        single = [dense_targets(truth, spec, assign_iou=assign_iou, **limits) for truth in truths]
        return cast(Targets, {name: np.stack([each[name] for each in single]) for name in single[0]})  # type: ignore[literal-required]

    def _positions(self, step: int) -> range:
        """Positions of this shard of a batch in the endless stream of images."""
        first, local = step * self.config.batch_size, self.shard.of(self.config.batch_size)
        return range(first + local.start, first + local.stop)

    @property
    def unfreezing_step(self) -> int:
        """The first step that trains all layers, or the number of steps."""
        return min(self.steps, round(self.config.frozen_epochs * self.steps_per_epoch))

    @property
    def view_steps(self) -> int:
        """Number of initial batches that consist of numbered views: those in which layers are frozen and their features are cached."""
        return self.unfreezing_step if self.config.views else 0

    def views_by_kind(self) -> dict[ViewKind, list[ViewId]]:
        """Return all views of the run, sorted, by kind. The kinds are in the order of their first use."""
        views: dict[ViewKind, set[ViewId]] = {}
        for step in range(self.view_steps):
            views.setdefault(self.view_kind(step), set()).update(self.view_ids(step))
        return {kind: sorted(each) for kind, each in views.items()}

    def view_kind(self, step: int) -> ViewKind:
        """Return the kind of the views in a batch."""
        has_mosaics = self.augmented and self.config.mosaic > 0 and step / self.steps < self.config.mosaic_until
        return ViewKind(self.input_size_of(step), has_mosaics)

    def view_ids(self, step: int) -> list[ViewId]:
        """Return the views in this shard of a batch. The views of an image alternate from epoch to epoch."""
        return [self._view_id(position) for position in self._positions(step)]

    def _view_id(self, position: int) -> ViewId:
        views = self.config.views if self.augmented else 1
        return ViewId(self._index(position), position // len(self.samples) % views)

    def view(self, kind: ViewKind, view_id: ViewId) -> TrainingExample:
        """Return a numbered view of an image, which depends only on the seed. Raises what `batch` raises."""
        rng = np.random.default_rng([self.config.seed, _VIEW, kind.size, *view_id])
        return self._make_example(rng, view_id.image, kind)

    def _example(self, position: int) -> TrainingExample:
        step = position // self.config.batch_size
        if step < self.view_steps:
            return self.view(self.view_kind(step), self._view_id(position))
        rng = np.random.default_rng([self.config.seed, _IMAGE, position])
        fraction = position / (self.steps * self.config.batch_size)
        return self._make_example(rng, self._index(position), ViewKind(self.input_size_of(step), fraction < self.config.mosaic_until))

    def _make_example(self, rng: np.random.Generator, index: int, kind: ViewKind) -> TrainingExample:
        view = self._augmented(rng, index, kind) if self.augmented else self._load(index)
        placement = Placement.fit(replace(self.spec, input_size=kind.size), view.image)
        pixels = placement.apply(view.image)
        if self.augmented:
            pixels = random_colour(rng, pixels, self.config)
        boxes, visible = _clip(placement.to_network(view.boxes), kind.size)
        partial = tuple(replace(each, box=_clip(placement.to_network(each.box[None]), kind.size)[0][0]) for each in view.partial)
        return TrainingExample(pixels, GroundTruth(boxes[visible], view.class_ids[visible], view.roles[visible], partial))

    def _augmented(self, rng: np.random.Generator, index: int, kind: ViewKind) -> View:
        if not kind.mosaic or rng.random() >= self.config.mosaic:
            return random_view(rng, self._load(index), self.config)
        x, y = (round(coordinate) for coordinate in (rng.uniform(0.3, 0.7, 2) * kind.size).tolist())
        others = rng.integers(0, len(self.samples), 3)
        views = [self._load(each) for each in (index, *others.tolist())]
        first, second, third, fourth = (random_view(rng, view, self.config) for view in views)
        return mosaic((first, second, third, fourth), kind.size, (x, y))

    def _load(self, index: int) -> View:
        sample = self.samples[index]
        truth = ground_truth(sample, self.spec.labels, self.config.difficult)
        return View(sample.load_image(), truth.boxes, truth.class_ids, truth.roles, truth.partial)

    def _index(self, position: int) -> int:
        """Index of the image at a position of the endless stream."""
        count = len(self.samples)
        return int(self._order(position // count)[position % count]) if self.augmented else position % count

    @cached_property
    def _order(self) -> Callable[[int], NDArray[np.intp]]:
        """Epoch -> indices of its images."""
        weights = repeat_factors(self.samples, self.config.repeat_rare) if self.config.repeat_rare else None

        @lru_cache(maxsize=4)
        def order(epoch: int) -> NDArray[np.intp]:
            return random_order(np.random.default_rng([self.config.seed, _ORDER, epoch]), len(self.samples), weights)

        return order


def _clip(boxes: Boxes, size: int) -> tuple[Boxes, NDArray[np.bool_]]:
    """Return boxes clipped to the network's input, and a mask of those that are not empty."""
    clipped = np.clip(boxes, 0, size)
    return clipped, np.all(clipped[:, 2:4] > clipped[:, 0:2], axis=1)


def repeat_factors(samples: Sequence[Sample], threshold: float) -> NDArray[np.float64]:
    """Return the relative frequency of each image (N,) in training, which its rarest class determines.

    A class that occurs in a fraction f of the images has the factor sqrt(threshold / f), at least 1.

    Source: repeat-factor sampling, Gupta et al., arXiv 1908.03195, section 5.
    """
    images = Counter(label for sample in samples for label in set(sample.labels))
    factors = {label: max(1.0, sqrt(threshold * len(samples) / count)) for label, count in images.items()}
    return np.array([max((factors[label] for label in sample.labels), default=1.0) for sample in samples])


def random_order(rng: np.random.Generator, count: int, weights: NDArray[np.float64] | None) -> NDArray[np.intp]:
    """Return `count` indices in random order: each once or, with weights (count,), in proportion to its weight, rounded up or down."""
    if weights is None:
        return rng.permutation(count)
    cumulative = np.cumsum(weights)
    positions = (np.arange(count) + rng.random()) / count * cumulative[-1]  # systematic sampling
    return rng.permutation(np.minimum(np.searchsorted(cumulative, positions, side="right"), count - 1))
