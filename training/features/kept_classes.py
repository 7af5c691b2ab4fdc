"""Decide whether a run keeps the classes of its initial model and whether it trains on that model's memory."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from detector.messages import count_of, join_names
from detector.network.spec import Model
from training.config.options import Config
from training.features.memory import Memory
from training.modeling.transfer import frozen_layers

CACHED_VIEWS = 4  # Views per image with cached features if classes are kept or a memory is used.

STALE_MEMORY = (
    "The options train layers below the head. So the features of the initial model's memory become less accurate during the run, "
    "and the new model does not keep them. Omit --unfreeze-at, --freeze and --batch-norm train to avoid this."
)

NO_MEMORY = (
    "The initial model has no memory of its training images, so the new model loses its classes. To keep them, start from a model with a "
    "memory, such as everyday, or add one with 'boxwright weights remember'."
)

logger = logging.getLogger("boxwright.training")


@dataclass(frozen=True)
class KeptClasses:
    """What a run takes from its initial model."""

    labels: tuple[str, ...]  # of the new model
    new_labels: frozenset[str]  # labels that the initial model does not have
    lost_labels: frozenset[str]  # labels of the initial model that the new model does not have
    keep: bool  # whether the new model keeps the classes of the initial model
    memory: Memory | None  # remembered images to train on
    memory_stays_valid: bool  # whether the memory's features stay valid, because the layers that compute them never change
    anchor_iou: float  # `Config.assign_iou` of the initial model's training

    @classmethod
    def decide(cls, config: Config, model: Model, labels: Sequence[str], memory: Memory | None) -> "KeptClasses":
        """Decide from the options.

        Args:
            config: Options of the run.
            model: Initial model.
            labels: Labels to learn.
            memory: Memory of the initial model, with replayed images.
        """
        same_head = config.network == "model" and config.head == "keep" and model.spec.is_detector
        usable = memory is not None and same_head and config.memory_share > 0 and not config.overfit
        can_freeze = usable and _stays_frozen(config, model, memory)
        if config.classes == "auto":
            keep = can_freeze and config.anchors == "keep" and config.new_layers == "output"
        else:
            keep = config.classes == "keep" and same_head
        if usable and keep and not can_freeze:
            logger.warning("%s", STALE_MEMORY)
        memory_stays_valid = can_freeze and (keep or config.classes == "replace" or config.frozen_epochs >= config.epochs)
        new = tuple(label for label in labels if label not in model.spec.labels)
        all_labels = (*model.spec.labels, *new) if keep else tuple(labels)
        used = memory if memory_stays_valid or (keep and usable) else None
        known = model.spec.labels if config.network == "model" and model.spec.is_detector else ()
        lost = frozenset(known).difference(all_labels)
        if lost and memory is None and config.classes == "auto" and not config.overfit:
            logger.warning("%s", NO_MEMORY)
        return cls(all_labels, frozenset(new), lost, keep, used, memory_stays_valid, _recorded_anchor_iou(model))

    def describe(self) -> str:
        """Return a sentence about the classes of the new model."""
        if self.keep:
            known = count_of(len(self.labels) - len(self.new_labels), "class")
            new = "no new class"
            if self.new_labels:
                new = f"{count_of(len(self.new_labels), 'new class')}: {join_names(sorted(self.new_labels))}"
            return f"The new model keeps the {known} of the initial model and learns {new}."
        lost = f" It loses {count_of(len(self.lost_labels), 'class')} of the initial model." if self.lost_labels else ""
        return f"The new model detects {count_of(len(self.labels), 'class')}: {join_names(self.labels)}.{lost}"

    def resolve(self, config: Config) -> Config:
        """Return the options with values for those that depend on this decision."""
        if not self.keep and not self.memory_stays_valid:
            return config
        assign_iou = config.assign_iou if config.assign_iou is not None or not self.keep else self.anchor_iou
        unfreeze_at = float(config.epochs) if config.unfreeze_at is None else config.unfreeze_at
        can_cache = config.freeze != "none" and unfreeze_at > 0 and not config.multi_scale
        views = (CACHED_VIEWS if can_cache else 0) if config.cache_features is None else config.cache_features
        classes = "keep" if self.keep else "replace"
        resolved = {
            "classes": classes,
            "unfreeze_at": unfreeze_at,
            "cache_features": views,
            "assign_iou": assign_iou,
        }
        return Config.of(config.model_dump() | resolved)


def _stays_frozen(config: Config, model: Model, memory: Memory | None) -> bool:
    """Return whether the options freeze all layers up to the last one that the memory stores. The default of `unfreeze_at` is ignored."""
    if memory is None or config.batch_norm == "train" or (config.unfreeze_at is not None and config.unfreeze_at < config.epochs):
        return False
    names = [layer.name for layer in model.spec.network]
    return set(names[: names.index(memory.layers[-1]) + 1]) <= frozen_layers(model.spec.network, config.freeze)


def _recorded_anchor_iou(model: Model) -> float:
    """Return `assign_iou` in the provenance of a fine-tuned model, or 1. Another value would change the targets of the kept classes."""
    try:
        recorded = json.loads(model.provenance.get("config", "{}"))["assign_iou"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return 1.0
    return float(recorded) if isinstance(recorded, int | float) and 0 < recorded <= 1 else 1.0
