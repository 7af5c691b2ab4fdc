"""Decide whether a run keeps the classes of its initial model and whether it trains on that model's memory."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from detector.spec import Model
from training.config import Config
from training.data.voc_reader import Sample
from training.features.memory import Memory
from training.modeling.transfer import frozen_layers

CACHED_VIEWS = 4
"""Views per image with cached features if classes are kept."""

_log = logging.getLogger("boxwright.training")


@dataclass(frozen=True)
class KeptClasses:
    """What a run takes from its initial model."""

    labels: tuple[str, ...]  # of the new model
    new_labels: frozenset[str]  # labels that the initial model does not have
    keep: bool  # the new model has the classes of the initial model, too
    memory: Memory | None  # images to train on
    is_valid: bool  # the layers that gave the memory's features never change

    @classmethod
    def decide(cls, config: Config, model: Model, labels: Sequence[str], memory: Memory | None) -> "KeptClasses":
        """Decide from the options.

        Args:
            config: Options of the run.
            model: Initial model.
            labels: Labels to learn.
            memory: Of the initial model, with replayed images.
        """
        same_head = config.network == "model" and config.head == "keep" and model.spec.is_detector
        is_valid = memory is not None and same_head and _stays_frozen(config, model, memory)
        if config.classes == "auto":
            same_layers = config.anchors == "keep" and config.new_layers == "output"
            keep = is_valid and same_layers and config.memory_share > 0 and not config.overfit
        else:
            keep = config.classes == "keep" and same_head
        if memory is not None and not is_valid:
            _explain(config, keep=keep)
        used = memory if same_head and (is_valid or keep) else None
        new = tuple(label for label in labels if label not in model.spec.labels)
        return cls((*model.spec.labels, *new) if keep else tuple(labels), frozenset(new), keep, used, is_valid)

    def resolve(self, config: Config) -> Config:
        """Return the options with values for those that depend on this decision."""
        if not self.keep:
            return config
        unfreeze_at = float(config.epochs) if config.unfreeze_at is None else config.unfreeze_at
        can_cache = config.freeze != "none" and unfreeze_at > 0 and not config.multi_scale
        views = (CACHED_VIEWS if can_cache else 0) if config.cache_features is None else config.cache_features
        return Config.of(config.model_dump() | {"classes": "keep", "unfreeze_at": unfreeze_at, "cache_features": views})


def _stays_frozen(config: Config, model: Model, memory: Memory) -> bool:
    if config.unfreeze_at is not None and config.unfreeze_at < config.epochs:
        return False
    names = [layer.name for layer in model.spec.network]
    needed = set(names[: names.index(memory.layers[-1]) + 1])
    return config.batch_norm != "train" and needed <= frozen_layers(model.spec.network, config.freeze)


def _explain(config: Config, *, keep: bool) -> None:
    """Log what happens to a memory whose features do not stay valid."""
    if keep:
        _log.warning(
            "The options train layers below the head, so the features of the initial model's memory become less accurate during the run, "
            "and the new model does not carry them. Leave out --unfreeze-at and --freeze to avoid this."
        )
    elif config.classes == "auto":
        _log.info("The options train layers below the head, so the classes of the initial model are replaced.")


def label_partially(samples: Sequence[Sample], labels: Collection[str]) -> list[Sample]:
    """Return the samples with these labels as exhaustive, where a sample does not name its own: all others are unknown."""
    return [sample if sample.labelled is not None else replace(sample, labelled=frozenset(labels)) for sample in samples]
