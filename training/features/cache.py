"""Cache of the frozen layers' outputs. They are computed once per view and stored on disk; each training step reads them.

With `--cache-features K` an image has K views, which depend only on the seed (`Batches.view`). The frozen part of the network
(`split_point.feature_layers`) runs in onnxruntime. The key of a feature file is a hash of everything that the features depend on: images,
annotations, options, versions and frozen weights.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.engines.onnxruntime import OnnxFeatureExtractor
from detector.network.shapes import array_shapes, output_shapes
from detector.network.spec import Model
from training.config.environment import package_versions
from training.data.batches import Batches, TrainingExample, ViewId, ViewKind
from training.data.ground_truth import GroundTruth, PartialRegion
from training.data.targets import Targets
from training.errors import ConfigError, FeatureFileError
from training.events import CacheProgress, Events
from training.features.file import FeatureFile
from training.features.split_point import feature_layers
from training.modeling.transfer import hidden_head_layers
from weights.atomic_files import file_lock

VIEW_OPTIONS = ("seed", "mosaic", "scale", "aspect", "translate", "flip", "flip_vertical", "hue", "saturation", "exposure", "min_visible")
"""Options that a view depends on."""
FEATURE_PACKAGES = ("boxwright", "numpy", "pillow", "onnxruntime")
FEATURE_FORMAT = 2
FEATURE_TYPE = np.float32
"""Type of stored features. float16 needs half the disk space and the same time, but changes the result. After 30 steps of
`everyday` on the raccoon data set, the weights differed from uncached training by 4 % of their change (float32: 0.06 %). The reason is
that Adam amplifies small gradients."""
VIEWS_PER_CALL = 8  # Views that are computed together.
MAX_REGIONS = 4  # Maximum number of partially labelled regions in a view: a mosaic has four tiles.

logger = logging.getLogger("boxwright.training")
StopRequested = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """Features for the steps in which layers are frozen. They are computed when they are first needed."""

    model: Model  # initial model of the run
    batches: Batches
    layers: tuple[str, ...]  # their outputs are stored
    _features: dict[ViewKind, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def create(cls, model: Model, frozen: frozenset[str], batches: Batches) -> "FeatureCache":
        """Return the cache of a run.

        Args:
            model: The run's initial model.
            frozen: Names of its frozen layers.
            batches: Its batches.

        Raises:
            ConfigError: No layer is frozen at any step, or the features need more disk space than allowed.
        """
        network = model.spec.network
        with_dropout = hidden_head_layers(network) if batches.config.dropout else ()  # their outputs change from step to step
        cache = cls(model, batches, feature_layers(network, frozen - {layer.name for layer in with_dropout}))
        if not cache.layers or not batches.view_steps:
            raise ConfigError("cache_features: the run has no step in which the first layers of the network are frozen.")
        size = sum(cache._row_type(kind).itemsize * len(views) for kind, views in cache._views.items())
        if size > batches.config.cache_gigabytes * 1e9:
            raise ConfigError(
                f"cache_features: {sum(map(len, cache._views.values())):,} views need {size / 1e9:.2f} GB on disk, more than "
                f"cache_gigabytes {batches.config.cache_gigabytes:g}. Use fewer views, smaller --sizes, or a higher limit."
            )
        return cache

    def stream(
        self, first: int, end: int, events: Events, stop_requested: StopRequested
    ) -> Iterator[tuple[dict[str, NDArray[Any]], Targets]]:
        """Yield the batches first, ..., end - 1 with features by layer (B, side, side, channels) instead of images.

        Args:
            first: First step.
            end: Step after the last one.
            events: Receives the progress of computing features.
            stop_requested: Called while features are computed. If it returns True, the iteration ends early.

        Raises:
            TrainingError: The features cannot be stored.
            DatasetError, ImageError, OSError: As raised by `Batches.batch`.
        """
        for step in range(first, end):
            kind = self.batches.view_kind(step)
            if kind not in self._features:
                features = self._open(kind, events, stop_requested)
                if features is None:
                    return
                self._features[kind] = features
            yield self._batch(step, kind)

    def _batch(self, step: int, kind: ViewKind) -> tuple[dict[str, NDArray[Any]], Targets]:
        indices = self._row_indices[kind]
        rows = self._features[kind][[indices[view_id] for view_id in self.batches.view_ids(step)]]
        return {layer: rows[layer] for layer in self.layers}, self.batches.targets([_ground_truth(row) for row in rows], kind.size)

    @cached_property
    def _views(self) -> dict[ViewKind, list[ViewId]]:
        return self.batches.views_by_kind()

    @cached_property
    def _row_indices(self) -> dict[ViewKind, dict[ViewId, int]]:
        return {kind: {view_id: index for index, view_id in enumerate(views)} for kind, views in self._views.items()}

    def _row_type(self, kind: ViewKind) -> np.dtype[Any]:
        """Return the type of one view's record. Layer names have no '/', so the other names of the record differ from them."""
        shapes = output_shapes(self.model.spec.network, kind.size)
        features = [(layer, FEATURE_TYPE, (shapes[layer].side, shapes[layer].side, shapes[layer].channels)) for layer in self.layers]
        count, labels = self.batches.max_boxes, len(self.model.spec.labels)
        boxes = [("/boxes", np.float32, (count, 4)), ("/class_ids", np.int64, (count,)), ("/roles", np.int8, (count,))]  # class -1: no box
        regions = [("/regions", np.float32, (MAX_REGIONS, 4)), ("/labelled", np.bool_, (MAX_REGIONS, labels))]  # empty box: no region
        return np.dtype([*features, *boxes, *regions])

    def _open(self, kind: ViewKind, events: Events, stop_requested: StopRequested) -> NDArray[Any] | None:
        file = FeatureFile(self._key(kind), len(self._views[kind]), self._row_type(kind))
        with file_lock(file.path):
            if file.path.exists():
                try:
                    return file.open()
                except FeatureFileError as error:
                    logger.warning("%s The features are computed again.", error)
            file.make_room(int(self.batches.config.cache_gigabytes * 1e9))
            try:
                file.write(self._compute(kind, file, events, stop_requested))
            except _Stopped:
                return None
            return file.open()

    def _compute(self, kind: ViewKind, file: FeatureFile, events: Events, stop_requested: StopRequested) -> Iterator[NDArray[Any]]:
        extractor = OnnxFeatureExtractor.of(replace(self.model, spec=replace(self.model.spec, input_size=kind.size)), self.layers)
        views = self._views[kind]
        events.features_cached(CacheProgress(0, len(views), file.size, file.path))
        with ThreadPoolExecutor(2) as pool:
            pending: list[Any] = []
            for first in range(0, len(views) + VIEWS_PER_CALL, VIEWS_PER_CALL):
                # the next views are prepared while the features of the current ones are computed
                prepared = [pool.submit(self.batches.view, kind, view_id) for view_id in views[first : first + VIEWS_PER_CALL]]
                if pending:
                    yield self._rows(extractor, [example.result() for example in pending], file.type)
                    events.features_cached(CacheProgress(min(first, len(views)), len(views), file.size, file.path))
                if stop_requested():
                    raise _Stopped
                pending = prepared

    def _rows(self, extractor: OnnxFeatureExtractor, examples: list[TrainingExample], row_type: np.dtype[Any]) -> NDArray[Any]:
        rows = np.zeros(len(examples), row_type)
        for layer, features in extractor(np.stack([example.pixels for example in examples])).items():
            rows[layer] = features
        rows["/class_ids"] = -1
        for index, example in enumerate(examples):
            truth = example.truth
            rows["/boxes"][index, : len(truth.boxes)] = truth.boxes
            rows["/class_ids"][index, : len(truth.boxes)] = truth.class_ids
            rows["/roles"][index, : len(truth.boxes)] = truth.roles
            for number, region in enumerate(truth.partial):
                rows["/regions"][index, number], rows["/labelled"][index, number] = region.box, region.labelled
        return rows

    def _key(self, kind: ViewKind) -> str:
        spec = replace(self.model.spec, input_size=kind.size)
        frozen_part = spec.network[: [layer.name for layer in spec.network].index(self.layers[-1]) + 1]
        content = {
            "format": FEATURE_FORMAT,
            "versions": package_versions(FEATURE_PACKAGES),
            "options": {name: getattr(self.batches.config, name) for name in VIEW_OPTIONS} if self.batches.augmented else {},
            "kind": kind,
            "views": self._views[kind],
            "row": str(self._row_type(kind)),
            "labels": spec.labels,
            "difficult": self.batches.config.difficult,
            "placed": [spec.fit, spec.resample, spec.edges, spec.pixel_scale, spec.pixel_offset],
            "network": repr(frozen_part),
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for name in array_shapes(frozen_part):
            digest.update(np.ascontiguousarray(self.model.arrays[name]).tobytes())
        digest.update(self._data_digest.encode())
        return digest.hexdigest()

    @cached_property
    def _data_digest(self) -> str:
        """SHA-256 of the image files and of everything in the annotations that training uses."""
        digest = hashlib.sha256()
        for sample in self.batches.samples:
            with sample.image_path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
            labelled = None if sample.labelled is None else sorted(sample.labelled)
            digest.update(f"{sample.boxes.shape}{sample.labels}{labelled}".encode() + sample.boxes.tobytes())
            digest.update(sample.difficult.tobytes() + sample.crowd.tobytes())
        return digest.hexdigest()


def _ground_truth(row: Any) -> GroundTruth:
    is_box = row["/class_ids"] >= 0
    is_region = row["/regions"][:, 2] > row["/regions"][:, 0]
    partial = tuple(PartialRegion(*each) for each in zip(row["/regions"][is_region], row["/labelled"][is_region], strict=True))
    return GroundTruth(row["/boxes"][is_box], row["/class_ids"][is_box], row["/roles"][is_box], partial)


class _Stopped(Exception):
    """Computing features was interrupted."""
