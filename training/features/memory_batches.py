"""Training batches of remembered images. Like the batches of the data set, each depends only on the seed and its step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, cast

import numpy as np

from detector.errors import ModelFileError
from detector.network.shapes import Array
from detector.network.spec import Model
from training.config.options import Config
from training.data.ground_truth import Role
from training.data.targets import Targets, dense_targets
from training.distributed.process_group import WHOLE_BATCH, Shard
from training.features.basis import Codes
from training.features.memory import Memory, RememberedImage, is_held_out

_STREAM = 100  # Purpose of the random numbers. It differs from those in `training.data.batches`.


@dataclass(frozen=True, eq=False)
class MemoryBatches:
    """The memory of the initial model in a run: batches to train on, and images on which false alarms are counted."""

    memory: Memory
    model: Model  # initial model of the run
    new_labels: frozenset[str]  # labels that the memory's images do not show
    config: Config
    shard: Shard = WHOLE_BATCH

    def batch(self, step: int) -> tuple[dict[str, Array], Targets]:
        """Return features by layer (n, side, side, C) and targets of this shard of a batch. All images of a batch have the same size."""
        chosen = self._chosen(step)
        indices = [chosen[position] for position in self.shard.of(len(chosen))]
        images = [self.memory.images[index] for index in indices]
        return self.features(indices), self.targets(images, self.memory.images[chosen[0]].size)

    def _chosen(self, step: int) -> list[int]:
        """Return the indices of a batch, of all workers."""
        chosen: list[int] = self._order(step // self._batches_per_epoch)[step % self._batches_per_epoch]
        return chosen

    def features(self, indices: Sequence[int]) -> dict[str, Array]:
        """Return the features of images of the same size. Without images, the arrays have length 0."""
        features = self._decoder.features([self._codes[index] for index in indices] or [self._codes[0]])
        return {layer: values[: len(indices)] for layer, values in features.items()}

    def targets(self, images: Sequence[RememberedImage], size: int) -> Targets:
        """Return the training targets of images of the same size."""
        spec = replace(self.model.spec, input_size=size)
        truths = [image.truth(spec.labels, self.new_labels) for image in images or self.memory.images[:1]]
        single = [dense_targets(truth, spec, assign_iou=self.config.anchor_iou, **self._limits) for truth in truths]
        return cast(Targets, {name: np.stack([each[name] for each in single])[: len(images)] for name in single[0]})  # type: ignore[literal-required]

    @property
    def held_out(self) -> list[int]:
        """Indices of the images that are not trained on."""
        count = len(self.memory.images)
        return [index for index in range(count) if is_held_out(index, count)]

    @cached_property
    def by_size(self) -> dict[int, list[int]]:
        """Indices of the images to train on, by input size."""
        count = len(self.memory.images)
        groups: dict[int, list[int]] = {}
        for index, image in enumerate(self.memory.images):
            if not is_held_out(index, count):
                groups.setdefault(image.size, []).append(index)
        return dict(sorted(groups.items()))

    @cached_property
    def _batches_per_epoch(self) -> int:
        return sum(-(-len(group) // self.config.memory_batch_size) for group in self.by_size.values())

    @cached_property
    def _order(self) -> Any:
        """Epoch of the memory -> its batches: lists of indices, all of the same length."""

        @lru_cache(maxsize=2)
        def order(epoch: int) -> list[list[int]]:
            rng = np.random.default_rng([self.config.seed, _STREAM, epoch])
            count = self.config.memory_batch_size
            batches = []
            for group in self.by_size.values():
                shuffled = rng.permutation(group)
                filled = np.resize(shuffled, -(-len(group) // count) * count)  # the last batch repeats images from the beginning
                batches += filled.reshape(-1, count).tolist()
            return [batches[index] for index in rng.permutation(len(batches)).tolist()]

        return order

    @cached_property
    def _decoder(self) -> Any:
        return self.memory.decoder(self.model)

    @cached_property
    def _codes(self) -> list[dict[str, Codes]]:
        try:
            return [self._decoder.codes(image) for image in self.memory.images]
        except ValueError as error:
            raise ModelFileError(f"{self.model.name}: its memory is damaged: {error}. Remove it with 'boxwright weights strip'.") from error

    @cached_property
    def _limits(self) -> dict[str, int]:
        images = self.memory.images
        crowds = max(int((image.roles == Role.CROWD).sum()) for image in images)
        return {"max_boxes": max(1, *(len(image.boxes) for image in images)), "max_crowds": crowds}
