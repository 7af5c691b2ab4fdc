"""All of a run that does not change while it runs: data, and the model to start with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from detector.spec import Model
from training.config import Config
from training.errors import ConfigError, DatasetError
from training.evaluate import truth_of
from training.feature_cache import FeatureCache
from training.joining import check_fits
from training.pipeline import Batches
from training.run_folder import Task
from training.start import labels_to_learn, model_to_start_with
from training.team import Team
from training.transfer import Start, frozen_layers
from training.voc import Sample, read_set

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
    _warn_of_unused_labels(train)
    labels = labels_to_learn(config, train)
    if all(truth_of(sample, labels).difficult.all() for sample in val):
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


def _warn_of_unused_labels(train: Sequence[Sample]) -> None:
    """A misspelled label in labelled.json makes its class unknown in that image, which nothing else would show."""
    used = {label for sample in train for label in sample.labels}
    unused = {label for sample in train for label in sample.labelled or ()} - used
    if unused:
        _log.warning("labelled.json names %s, which no box of the training set has. Check the spelling.", ", ".join(sorted(unused)))
