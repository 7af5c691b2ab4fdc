"""Photos on disk -> batches for training. A batch is a function of the seed and its number alone.

So it does not matter how many threads make batches, and a resumed run sees what the uninterrupted one would have seen.

Where features are cached (see `feature_cache`) a photo is not shown anew each time: it has so many views, numbered, and they take turns.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from math import ceil, sqrt
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from detector.detections import Boxes
from detector.engines.cores import usable_cores
from detector.placement import Pixels, Placement
from detector.spec import ModelSpec
from training.config import Config
from training.data.augment import EVERYWHERE, View, mosaic, random_colour, random_view
from training.data.targets import GroundTruth, PartialRegion, Role, Targets, dense_targets
from training.data.voc_reader import Sample
from training.distributed.process_group import WHOLE, Share

BATCHES_PER_SIZE = 10
"""Multi-scale training keeps a size for so many batches (YOLO9000, section 2)."""

_ORDER, _SIZE, _PICTURE, _VIEW = range(4)
"""What a random stream is for: streams of one seed must not coincide."""


@dataclass(frozen=True, eq=False)
class Sight:
    """What the network sees."""

    pixels: Pixels  # (S, S, 3), 0..255
    truth: GroundTruth  # network pixels, no box empty


class Kind(NamedTuple):
    """What the views of a part of the run have in common."""

    size: int  # network pixels
    mosaic: bool  # some are made of four photos


class ViewId(NamedTuple):
    """One of the views of a photo."""

    photo: int
    view: int


@dataclass(frozen=True, eq=False)
class Batches:
    """The training set as batches 0, 1, 2, ... of `steps` in all.

    Photos come in a new random order each time all have been seen; the last batch of one order goes on with the next.
    Boxes marked difficult, and crowds, are what `config.difficult` makes of them.
    """

    samples: Sequence[Sample]
    spec: ModelSpec
    config: Config
    augmented: bool = True
    share: Share = WHOLE
    """Which part of every batch is made here; the others are other workers'."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every photo has been seen."""
        return ceil(len(self.samples) / self.config.batch_size)

    @property
    def steps(self) -> int:
        """Batches of the whole run."""
        return self.steps_per_epoch * self.config.epochs

    @cached_property
    def most_boxes(self) -> int:
        """What no picture has more boxes than."""
        return max(1, self._tiles * max((len(sample.boxes) for sample in self.samples), default=0))

    @cached_property
    def most_crowds(self) -> int:
        """The largest number of crowd regions in a picture."""
        ignored = self.config.difficult == "ignore"
        return self._tiles * max((int(sample.crowd.sum()) for sample in self.samples if ignored), default=0)

    @property
    def _tiles(self) -> int:
        return 4 if self.augmented and self.config.mosaic else 1

    def size_of(self, step: int) -> int:
        """Input size of a batch: from the plan, or near it with multi-scale; unaugmented, always the model's."""
        if not self.augmented:
            return self.spec.input_size
        share = step / self.steps
        size = next(size for until, size in self.config.size_plan() if share < until)
        around = self.config.multi_scale
        if not around:
            return size
        rng = np.random.default_rng([self.config.seed, _SIZE, step // BATCHES_PER_SIZE])
        step_size = self.spec.size_multiple
        return max(step_size, size + step_size * int(rng.integers(-around, around + 1)))

    def batch(self, step: int) -> tuple[NDArray[np.float32], Targets]:
        """Images (B, S, S, 3), 0..255, and targets (B, ...) of our share of batch `step`. Raises DatasetError, ImageError, OSError."""
        sights = self.sights(step)
        targets = self.targets([sight.truth for sight in sights], self.size_of(step))
        return np.stack([sight.pixels for sight in sights]), targets

    def sights(self, step: int) -> list[Sight]:
        """What the network sees in batch number `step`, with the boxes it learns. Raises what `batch` does."""
        return [self._sight(place) for place in self._places(step)]

    def targets(self, truths: Sequence[GroundTruth], size: int) -> Targets:
        """Return the training targets of pictures of `size` network pixels."""
        spec, assign_iou = replace(self.spec, input_size=size), self.config.assign_iou
        sizes = {"most": self.most_boxes, "most_crowds": self.most_crowds}
        made = [
            dense_targets(one.boxes, one.class_ids, spec, roles=one.roles, partial=one.partial, assign_iou=assign_iou, **sizes)
            for one in truths
        ]
        return cast(Targets, {name: np.stack([one[name] for one in made]) for name in made[0]})  # type: ignore[literal-required]

    def _places(self, step: int) -> range:
        """Those of a batch's pictures, or of our share of them, in the endless stream."""
        first, ours = step * self.config.batch_size, self.share.of(self.config.batch_size)
        return range(first + ours.start, first + ours.stop)

    @property
    def unfreezing_step(self) -> int:
        """The first step in which what was frozen trains too; that of the end, if it never does."""
        return min(self.steps, round(self.config.unfreeze_at * self.steps_per_epoch))

    @property
    def viewed_steps(self) -> int:
        """How many batches, from the first, are of numbered views: those of the time in which layers are frozen."""
        return self.unfreezing_step if self.config.cache_features else 0

    def kinds(self) -> dict[Kind, list[ViewId]]:
        """All views that the run shows, sorted, by kind, in the order in which their time comes."""
        seen: dict[Kind, set[ViewId]] = {}
        for step in range(self.viewed_steps):
            seen.setdefault(self.kind_of(step), set()).update(self.view_ids(step))
        return {kind: sorted(views) for kind, views in seen.items()}

    def kind_of(self, step: int) -> Kind:
        """Of a batch of numbered views."""
        return Kind(self.size_of(step), self.augmented and self.config.mosaic > 0 and step / self.steps < self.config.mosaic_until)

    def view_ids(self, step: int) -> list[ViewId]:
        """Which views are in a batch: a photo's take turns from epoch to epoch."""
        return [self._view_id(place) for place in self._places(step)]

    def _view_id(self, place: int) -> ViewId:
        views = self.config.cache_features if self.augmented else 1
        return ViewId(self._index(place), place // len(self.samples) % views)

    def view(self, kind: Kind, which: ViewId) -> Sight:
        """A numbered view of a photo: a function of the seed. Raises what `batch` does."""
        rng = np.random.default_rng([self.config.seed, _VIEW, kind.size, *which])
        return self._seen(rng, which.photo, kind)

    def _sight(self, place: int) -> Sight:
        """The picture at a place of the endless stream."""
        step = place // self.config.batch_size
        if step < self.viewed_steps:
            return self.view(self.kind_of(step), self._view_id(place))
        rng = np.random.default_rng([self.config.seed, _PICTURE, place])
        share = place / (self.steps * self.config.batch_size)
        return self._seen(rng, self._index(place), Kind(self.size_of(step), share < self.config.mosaic_until))

    def _seen(self, rng: np.random.Generator, photo: int, kind: Kind) -> Sight:
        view = self._shown(rng, photo, kind) if self.augmented else self._photo(photo)
        placement = Placement.fit(replace(self.spec, input_size=kind.size), view.picture)
        pixels = placement.apply(view.picture)
        if self.augmented:
            pixels = random_colour(rng, pixels, self.config)
        boxes, inside = _within(placement.to_network(view.boxes), kind.size)
        partial = tuple(replace(each, box=_within(placement.to_network(each.box[None]), kind.size)[0][0]) for each in view.partial)
        return Sight(pixels, GroundTruth(boxes[inside], view.class_ids[inside], view.roles[inside], partial))

    def _shown(self, rng: np.random.Generator, photo: int, kind: Kind) -> View:
        if not kind.mosaic or rng.random() >= self.config.mosaic:
            return random_view(rng, self._photo(photo), self.config)
        x, y = (round(part) for part in (rng.uniform(0.3, 0.7, 2) * kind.size).tolist())
        others = rng.integers(0, len(self.samples), 3)
        views = [self._photo(index) for index in (photo, *others.tolist())]
        first, second, third, fourth = (random_view(rng, view, self.config) for view in views)
        return mosaic((first, second, third, fourth), kind.size, (x, y))

    def _photo(self, index: int) -> View:
        sample = self.samples[index]
        truth = ground_truth(sample, self.spec.labels, self.config.difficult)
        return View(sample.picture(), truth.boxes, truth.class_ids, truth.roles, truth.partial)

    def _index(self, place: int) -> int:
        """Index of the image at a place of the endless stream."""
        count = len(self.samples)
        return int(self._order(place // count)[place % count]) if self.augmented else place % count

    @cached_property
    def _order(self) -> Callable[[int], NDArray[np.intp]]:
        """Epoch -> indices of its images."""
        weights = repeat_factors(self.samples, self.config.repeat_rare) if self.config.repeat_rare else None
        return lru_cache(maxsize=4)(partial(_epoch_order, len(self.samples), weights, self.config.seed))


def repeat_factors(samples: Sequence[Sample], share: float) -> NDArray[np.float64]:
    """(N,) how much more often than others to show each image: by the rarest of its classes (Gupta et al., arXiv 1908.03195, section 5).

    A class that a share f of the images have counts sqrt(share / f), and at least 1.
    """
    images = Counter(label for sample in samples for label in set(sample.labels))
    factors = {label: max(1.0, sqrt(share * len(samples) / count)) for label, count in images.items()}
    return np.array([max((factors[label] for label in sample.labels), default=1.0) for sample in samples])


def _epoch_order(count: int, weights: NDArray[np.float64] | None, seed: int, epoch: int) -> NDArray[np.intp]:
    """`count` indices in random order: each once or, with weights, in proportion to them to within one."""
    rng = np.random.default_rng([seed, _ORDER, epoch])
    if weights is None:
        return rng.permutation(count)
    upto = np.cumsum(weights)
    places = (np.arange(count) + rng.random()) / count * upto[-1]  # systematic sampling
    return rng.permutation(np.minimum(np.searchsorted(upto, places, side="right"), count - 1))


def ground_truth(sample: Sample, labels: Sequence[str], difficult: str) -> GroundTruth:
    """Return what training learns from a sample: its boxes of these labels, image pixels. difficult: see `Config`."""
    kept = np.array([label in labels for label in sample.labels], np.bool_)
    if difficult == "background":
        kept &= ~sample.difficult
    roles = np.zeros(len(kept), np.int8)
    if difficult == "ignore":
        roles = np.where(sample.crowd, Role.CROWD, np.where(sample.difficult, Role.IGNORED, Role.OBJECT)).astype(np.int8)
    class_ids = np.array([labels.index(label) for label, keep in zip(sample.labels, kept, strict=True) if keep], np.int64)
    partial: tuple[PartialRegion, ...] = ()
    if sample.labelled is not None and not sample.labelled.issuperset(labels):
        partial = (PartialRegion(EVERYWHERE, np.array([label in sample.labelled for label in labels], np.bool_)),)
    return GroundTruth(sample.boxes[kept], class_ids, roles[kept], partial)


def _within(boxes: Boxes, size: int) -> tuple[Boxes, NDArray[np.bool_]]:
    """Boxes cut at the network's square, and which of them are not empty then."""
    cut = np.clip(boxes, 0, size)
    return cut, np.all(cut[:, 2:4] > cut[:, 0:2], axis=1)


def stream(batches: Batches, first: int, last: int, *, threads: int | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Batches first, first + 1, ... last - 1 as tensors, in order, made ahead of time in `threads` threads by tf.data; None: one a core.

    What goes wrong with a photo is raised as it is, not as TensorFlow's account of it.
    """
    failures: list[Exception] = []
    lock = threading.Lock()
    names = list(Targets.__annotations__)
    types = (tf.float32, *(tf.int32 if name == "class_ids" else tf.float32 for name in names))

    def make(step: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        try:
            images, targets = batches.batch(int(step))
        except Exception as error:
            with lock:
                failures.append(error)
            raise
        return images, *(targets[name] for name in names)  # type: ignore[literal-required]

    def from_step(step: Any) -> Any:
        return tf.numpy_function(make, [step], types, stateful=False)  # not stateful: it may run in parallel and still be deterministic

    data = tf.data.Dataset.range(first, last).map(from_step, num_parallel_calls=threads or usable_cores(), deterministic=True).prefetch(2)
    try:
        for images, *targets in data:
            yield images, dict(zip(names, targets, strict=True))
    except tf.errors.OpError as error:
        if failures:
            raise failures[0] from error
        raise
