"""What frozen layers say of a photo does not change: it is computed once per view, kept on disk, and only the rest of the network runs.

A photo has `--cache-features K` views, each a function of the seed (`Batches.view`). The part that is cut off (`stem.cut_layers`) runs in
onnxruntime. A file of features belongs to a hash of all that they depend on: photos, boxes, options, versions and frozen weights.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.engines.onnxruntime import OnnxStem
from detector.shapes import array_shapes, trace
from detector.spec import Model
from training.errors import ConfigError, FeatureFileError
from training.feature_file import FeatureFile
from training.pipeline import Batches, Kind, Sight, ViewId
from training.run_folder import versions
from training.stem import cut_layers
from training.targets import GroundTruth, PartialRegion, Targets
from training.transfer import hidden_of_head
from weights.cache import locked

OPTIONS = ("seed", "mosaic", "scale", "aspect", "translate", "flip", "flip_vertical", "hue", "saturation", "exposure", "min_visible")
"""Those that a view depends on."""
PACKAGES = ("boxwright", "numpy", "pillow", "onnxruntime")
FORMAT = 2
NUMBERS = np.float32
"""Of kept features. float16 takes half the disk and no less time, but after 30 steps of everyday on raccoon the weights were 4 % of their
way from where uncached training brings them (float32: 0.06 %), for Adam makes as much of a small gradient as of a large one."""
AT_ONCE = 8
"""Views that are computed together."""
MAX_TILES = 4
"""Partially labelled regions of a view: the tiles of a mosaic."""

_log = logging.getLogger("boxwright.training")


class Filling(NamedTuple):
    """How far the computation of features is."""

    done: int  # views
    views: int
    bytes: int  # of all
    path: Path


Told = Callable[[Filling], object]
Stopped = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """The features of a run's frozen time, made when they are needed."""

    model: Model  # that the run starts with
    batches: Batches
    layers: tuple[str, ...]  # whose outputs are kept
    _opened: dict[Kind, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, frozen: frozenset[str], batches: Batches) -> "FeatureCache":
        """For a run that starts with that model. Raises ConfigError where there is nothing to keep or too much."""
        network = model.spec.network
        dropped = hidden_of_head(network) if batches.config.dropout else ()  # what they say changes from step to step
        made = cls(model, batches, cut_layers(network, frozen - {layer.name for layer in dropped}))
        if not made.layers or not batches.viewed_steps:
            raise ConfigError("cache_features: no layer is frozen below one that trains, or in no step of the run.")
        size, most = sum(made._row(kind).itemsize * len(views) for kind, views in made._kinds.items()), batches.config.cache_gigabytes
        if size > most * 1e9:
            raise ConfigError(
                f"cache_features: {sum(map(len, made._kinds.values())):,} views would take {size / 1e9:.2f} GB on disk, more than "
                f"cache_gigabytes {most:g}. Take fewer views or smaller --sizes, or allow more."
            )
        return made

    def stream(self, first: int, last: int, told: Told, stopped: Stopped) -> Iterator[tuple[dict[str, NDArray[Any]], Targets]]:
        """Batches as `Batches.batch` gives them, with features by layer (B, side, side, channels) in place of images.

        Features that are not there yet are computed first; `told` hears of it, `stopped` says whether to end early instead.
        Raises TrainingError where they cannot be kept, and what `Batches.batch` raises.
        """
        for step in range(first, last):
            kind = self.batches.kind_of(step)
            if kind not in self._opened:
                rows = self._open(kind, told, stopped)
                if rows is None:
                    return
                self._opened[kind] = rows
            yield self._batch(step, kind)

    def _batch(self, step: int, kind: Kind) -> tuple[dict[str, NDArray[Any]], Targets]:
        places = self._places[kind]
        rows = self._opened[kind][[places[which] for which in self.batches.view_ids(step)]]
        return {layer: rows[layer] for layer in self.layers}, self.batches.targets([_truth(row) for row in rows], kind.size)

    @cached_property
    def _kinds(self) -> dict[Kind, list[ViewId]]:
        return self.batches.kinds()

    @cached_property
    def _places(self) -> dict[Kind, dict[ViewId, int]]:
        return {kind: {which: row for row, which in enumerate(views)} for kind, views in self._kinds.items()}

    def _row(self, kind: Kind) -> np.dtype[Any]:
        """What is kept of a view. A layer has no '/' in its name."""
        shapes = trace(self.model.spec.network, kind.size)
        features = [(layer, NUMBERS, (shapes[layer].side, shapes[layer].side, shapes[layer].channels)) for layer in self.layers]
        most, labels = self.batches.most_boxes, len(self.model.spec.labels)
        boxes = [("/boxes", np.float32, (most, 4)), ("/class_ids", np.int64, (most,)), ("/roles", np.int8, (most,))]  # class -1: no box
        regions = [("/regions", np.float32, (MAX_TILES, 4)), ("/labelled", np.bool_, (MAX_TILES, labels))]  # empty box: no region
        return np.dtype([*features, *boxes, *regions])

    def _open(self, kind: Kind, told: Told, stopped: Stopped) -> NDArray[Any] | None:
        file = FeatureFile(self._key(kind), len(self._kinds[kind]), self._row(kind))
        with locked(file.path):
            if file.path.exists():
                try:
                    return file.open()
                except FeatureFileError as error:
                    _log.warning("%s The features are computed anew.", error)
            file.make_room(int(self.batches.config.cache_gigabytes * 1e9))
            try:
                file.write(self._rows(kind, file, told, stopped))
            except _Stopped:
                return None
            return file.open()

    def _rows(self, kind: Kind, file: FeatureFile, told: Told, stopped: Stopped) -> Iterator[NDArray[Any]]:
        stem = OnnxStem.of(replace(self.model, spec=replace(self.model.spec, input_size=kind.size)), self.layers)
        views = self._kinds[kind]
        told(Filling(0, len(views), file.size, file.path))
        with ThreadPoolExecutor(2) as pool:
            sights: list[Any] = []
            for first in range(0, len(views) + AT_ONCE, AT_ONCE):
                ahead = [pool.submit(self.batches.view, kind, which) for which in views[first : first + AT_ONCE]]  # while the stem computes
                if sights:
                    yield self._computed(stem, [sight.result() for sight in sights], file.type)
                    told(Filling(min(first, len(views)), len(views), file.size, file.path))
                if stopped():
                    raise _Stopped
                sights = ahead

    def _computed(self, stem: OnnxStem, sights: list[Sight], row: np.dtype[Any]) -> NDArray[Any]:
        rows = np.zeros(len(sights), row)
        for layer, features in stem(np.stack([sight.pixels for sight in sights])).items():
            rows[layer] = features
        rows["/class_ids"] = -1
        for index, sight in enumerate(sights):
            truth = sight.truth
            rows["/boxes"][index, : len(truth.boxes)] = truth.boxes
            rows["/class_ids"][index, : len(truth.boxes)] = truth.class_ids
            rows["/roles"][index, : len(truth.boxes)] = truth.roles
            for place, region in enumerate(truth.partial):
                rows["/regions"][index, place], rows["/labelled"][index, place] = region.box, region.labelled
        return rows

    def _key(self, kind: Kind) -> str:
        spec = replace(self.model.spec, input_size=kind.size)
        below = spec.network[: [layer.name for layer in spec.network].index(self.layers[-1]) + 1]
        facts = {
            "format": FORMAT,
            "versions": versions(PACKAGES),
            "options": {name: getattr(self.batches.config, name) for name in OPTIONS} if self.batches.augmented else {},
            "kind": kind,
            "views": self._kinds[kind],
            "row": str(self._row(kind)),
            "labels": spec.labels,
            "difficult": self.batches.config.difficult,
            "placed": [spec.fit, spec.resample, spec.edges, spec.pixel_scale, spec.pixel_offset],
            "network": repr(below),
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for name in array_shapes(below):
            digest.update(np.ascontiguousarray(self.model.arrays[name]).tobytes())
        digest.update(self._data.encode())
        return digest.hexdigest()

    @cached_property
    def _data(self) -> str:
        """A sha256 of the photos' bytes and of everything in their annotations that training uses."""
        digest = hashlib.sha256()
        for sample in self.batches.samples:
            with sample.photo.open("rb") as photo:
                digest.update(hashlib.file_digest(photo, "sha256").digest())
            labelled = None if sample.labelled is None else sorted(sample.labelled)
            digest.update(f"{sample.boxes.shape}{sample.labels}{labelled}".encode() + sample.boxes.tobytes())
            digest.update(sample.difficult.tobytes() + sample.crowd.tobytes())
        return digest.hexdigest()


def _truth(row: Any) -> GroundTruth:
    """The annotations in a row of the file."""
    there = row["/class_ids"] >= 0
    used = row["/regions"][:, 2] > row["/regions"][:, 0]
    partial = tuple(PartialRegion(*each) for each in zip(row["/regions"][used], row["/labelled"][used], strict=True))
    return GroundTruth(row["/boxes"][there], row["/class_ids"][there], row["/roles"][there], partial)


class _Stopped(Exception):
    """Somebody does not want to wait for the features."""
