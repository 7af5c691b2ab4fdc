"""All of a run that does not change while it runs: data, and the model to start with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from detector.spec import Model
from training.config import Config
from training.data.batches import Batches
from training.data.voc_reader import Sample, read_set
from training.distributed.process_group import Team
from training.distributed.synchronise import check_fits
from training.errors import ConfigError, DatasetError
from training.features.cache import FeatureCache
from training.modeling.initial_model import labels_to_learn, model_to_start_with
from training.modeling.transfer import Start, frozen_layers
from training.run.folder import Task

_log = logging.getLogger("boxwright.training")


@dataclass(frozen=True)
class Prepared:
    """All of a run that does not change while it runs."""

    start: Start
    frozen: frozenset[str]
    batches: Batches
    val: Sequence[Sample]
    features: FeatureCache | None
    team: Team


def prepare(task: Task, config: Config, model: Model, team: Team) -> Prepared:
    """Data and the model to start with. Raises what `Run.new` does."""
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    train, val = read_set(Path(task.dataset), task.train_set), read_set(Path(task.dataset), task.val_set)
    check_fits(team, config, train, val)
    if config.overfit:
        train = val = train[: config.overfit]
    else:
        _tell_of_known(train, val)
    labels = labels_to_learn(config, train)
    if not any(
        label in labels and not difficult for sample in val for label, difficult in zip(sample.labels, sample.difficult, strict=True)
    ):
        raise DatasetError(f"set {task.val_set} has no box of {', '.join(labels)}: nothing could be measured. Give another --val-set.")
    start = model_to_start_with(model, labels, train, config)
    batches = Batches(train, start.model.spec, config, augmented=not config.overfit, share=team.share)
    frozen = frozen_layers(start.model.spec.network, config.freeze)
    if random := [layer.name for layer in start.model.spec.network if layer.name in frozen & start.new]:
        raise ConfigError(f"freeze {config.freeze}: {random[0]} starts anew and would stay at random. Freeze less, or nothing.")
    features = FeatureCache.of(start.model, frozen, batches) if config.cache_features else None
    return Prepared(start, frozen, batches, val, features, team)


def _tell_of_known(train: Sequence[Sample], val: Sequence[Sample]) -> None:
    known = {sample.photo for sample in train} & {sample.photo for sample in val}
    if known:
        _log.warning(
            "%d of the %d photos to check on are among those to learn from, such as %s: the AP says less of other photos.",
            len(known), len(val), min(known).name,
        )  # fmt: skip
