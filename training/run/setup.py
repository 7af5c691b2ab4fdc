"""The fixed parts of a run: data, initial model and options."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import tensorflow as tf

from detector.messages import count_of
from detector.network.spec import Model
from training.config.options import Config
from training.config.task import Task
from training.data.batches import Batches
from training.data.unusable_boxes import check_boxes
from training.data.voc_reader import Sample, data_fingerprint, label_partially, read_set
from training.distributed.process_group import WHOLE_BATCH, ProcessGroup
from training.distributed.synchronise import check_same_data
from training.errors import ConfigError, DatasetError
from training.evaluation.evaluate import truth_of
from training.features.cache import FeatureCache
from training.features.kept_classes import KeptClasses
from training.features.memory import Memory
from training.features.memory_batches import MemoryBatches
from training.features.memory_format import memory_to_entries
from training.features.replay import with_replay
from training.modeling.initial_model import build_initial_model, labels_to_learn
from training.modeling.transfer import InitialModel, frozen_layers
from weights.formats.memory_entries import memory_checksum

logger = logging.getLogger("boxwright.training")


@dataclass(frozen=True)
class RunSetup:
    """Everything about a run that does not change while it trains."""

    task: Task
    config: Config
    group: ProcessGroup
    start: InitialModel  # initial model
    frozen: frozenset[str]  # layers
    batches: Batches
    val: Sequence[Sample]
    features: FeatureCache | None
    kept: KeptClasses
    annotated: Mapping[str, Sequence[Sample]]  # train and val as read, regardless of kept classes
    remembered: MemoryBatches | None = None  # remembered images to train on

    @classmethod
    def prepare(cls, task: Task, config: Config, model: Model, group: ProcessGroup, memory: Memory | None = None) -> "RunSetup":
        """Seed the random generators, read the data and build the initial model.

        Args:
            task: Data set and image sets.
            config: Options.
            model: Model to start from.
            group: All workers.
            memory: The model's memory.

        Raises:
            DatasetError: The data set cannot be read, or has nothing to learn or to validate.
            ConfigError: The options do not fit the data or the model.
            NetworkError: The model's network cannot be trained at these options.
            TrainingError: The workers' data differ.
        """
        keras.utils.set_random_seed(config.seed)
        tf.config.experimental.enable_op_determinism()
        read = replace(task, val_set=task.train_set) if config.overfit else task
        train, val = _read_sets(read, config, group)
        annotated = {"train": train, "val": val}
        labels = labels_to_learn(config, train)
        if task.replay:
            if config.network != "model" or not model.spec.is_detector:
                raise ConfigError("--replay requires a detector as initial model, because the images are remembered as its features.")
            memory = with_replay(memory, model, Path(task.replay))
        kept = KeptClasses.decide(config, model, labels, memory)
        config = kept.resolve(config)
        if kept.keep:
            in_data = {label for sample in train for label in sample.labels}
            train, val = label_partially(train, in_data), label_partially(val, in_data)
        _warn_of_unusable_boxes(read, train, val, labels)
        _check_validation_labels(read, val, labels)
        start = build_initial_model(model, kept.labels, train, config, min_input_size=model.spec.input_size if kept.keep else 0)
        start = replace(start, rare_labels=kept.new_labels if kept.keep else frozenset())
        batches = Batches(train, start.model.spec, config, augmented=not config.overfit, shard=group.shard)
        frozen = frozen_layers(start.model.spec.network, config.freeze)
        _check_new_layers_train(start, frozen, config)
        features = FeatureCache.create(start.model, frozen, batches) if config.views else None
        return cls(task, config, group, start, frozen, batches, val, features, kept, annotated, _memory_batches(kept, start, config, group))

    @property
    def memory_checksum(self) -> str | None:
        """SHA-256 of the memory that the run trains on."""
        return memory_checksum(memory_to_entries(self.kept.memory)) if self.kept.memory else None

    @property
    def labelled(self) -> list[str] | None:
        """Exhaustive labels of the images that labelled.json does not name. None: all labels, because no class is kept."""
        return sorted({label for sample in self.batches.samples for label in sample.labels}) if self.kept.keep else None

    @property
    def distilled_classes(self) -> int:
        """Number of classes, the first ones, whose initial outputs are preserved. 0 if outputs are not preserved."""
        preserves = self.remembered and self.kept.keep and self.config.distillation
        return len(self.start.model.spec.labels) - len(self.kept.new_labels) if preserves else 0

    @property
    def val_batches(self) -> Batches:
        """The complete validation set as batches without augmentation."""
        return replace(self.batches, samples=self.val, augmented=False, shard=WHOLE_BATCH)


def _read_sets(task: Task, config: Config, group: ProcessGroup) -> tuple[list[Sample], list[Sample]]:
    """Read the training set and the validation set, and log warnings about images and labels."""
    train = read_set(Path(task.dataset), task.train_set)
    val = train if config.overfit else read_set(Path(task.dataset), task.val_set)
    if group.count > 1:
        check_same_data(group, config, {"train": data_fingerprint(train), "val": data_fingerprint(val)})
    if config.overfit:
        train = val = train[: config.overfit]
    else:
        _warn_of_shared_images(train, val)
    _warn_of_unused_labels(train)
    return train, val


def _warn_of_unusable_boxes(task: Task, train: Sequence[Sample], val: Sequence[Sample], labels: Sequence[str]) -> None:
    for name, samples in {task.train_set: train, task.val_set: val}.items():
        if warning := check_boxes(name, samples, labels):
            logger.warning("%s", warning)
        if rotated := sum(sample.rotated for sample in samples):
            logger.warning("set %s: %s; the upright rectangle around each is used.", name, count_of(rotated, "rotated box"))


def _memory_batches(kept: KeptClasses, start: InitialModel, config: Config, group: ProcessGroup) -> MemoryBatches | None:
    if not kept.memory or not config.memory_share:
        return None
    if config.dropout and group.count > 1:
        raise ConfigError("dropout: several workers cannot use dropout together with a memory. Give --dropout 0 or --memory-share 0.")
    return MemoryBatches(kept.memory, start.model, kept.new_labels, config, group.shard)


def _check_new_layers_train(start: InitialModel, frozen: frozenset[str], config: Config) -> None:
    if untrained := [layer.name for layer in start.model.spec.network if layer.name in frozen & start.reinitialised]:
        raise ConfigError(f"freeze {config.freeze}: layer {untrained[0]} has new random weights and must be trained. Freeze fewer layers.")


def _check_validation_labels(task: Task, val: Sequence[Sample], labels: Sequence[str]) -> None:
    if all(truth_of(sample, labels).difficult.all() for sample in val):
        raise DatasetError(
            f"set {task.val_set} has no box of {', '.join(labels)}, or only difficult ones, so AP cannot be measured. "
            "Choose another --val-set."
        )


def _warn_of_shared_images(train: Sequence[Sample], val: Sequence[Sample]) -> None:
    shared = {sample.image_path for sample in train} & {sample.image_path for sample in val}
    if shared:
        logger.warning(
            "%d of the %d validation images are also training images, such as %s: the AP overestimates the quality on new images.",
            len(shared), len(val), min(shared).name,
        )  # fmt: skip


def _warn_of_unused_labels(train: Sequence[Sample]) -> None:
    """Log labels of labelled.json without boxes: a misspelled label would silently make its class unknown in that image."""
    used = {label for sample in train for label in sample.labels}
    unused = {label for sample in train for label in sample.labelled or ()} - used
    if unused:
        logger.warning("labelled.json names %s, which no box of the training set has. Check the spelling.", ", ".join(sorted(unused)))
