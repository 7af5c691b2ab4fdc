"""Training state: completed steps, the best validation, early stopping, and reductions of the learning rate."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from training.config.options import Config


def watched_value(metrics: Mapping[str, Any], watch: str) -> float:
    """Return the metric of a validation that `Config.watch` names. Larger is better, so the loss is negated."""
    keys = {"ap": "ap50", "ap-frequent": "ap50_frequent", "ap-weighted": "ap50_weighted"}
    if watch not in keys:
        return -float(metrics["val_loss"])
    return float(metrics[keys[watch]])


@dataclass
class TrainingState:
    """Progress of a run. Checkpoints store it as JSON."""

    step: int = 0  # completed steps
    best: float | None = None  # see `watched_value`
    best_step: int = 0
    stale: int = 0  # validations since the last improvement
    waited: int = 0  # validations since the last improvement or the last reduction of the learning rate
    rate_factor: float = 1.0  # factor of the learning rate after all reductions

    def observe(self, value: float, config: Config) -> bool:
        """Record the watched value of a validation and return True if it is the best so far, or equal to it.

        Of equal values the last counts: with few validation images they are frequent, and later weights have learned more. Early
        stopping does not regard an equal value as an improvement.
        """
        if self.best is None or value > self.best:
            self.best, self.best_step, self.stale, self.waited = value, self.step, 0, 0
            return True
        if value == self.best:
            self.best_step = self.step
        self.stale += 1
        self.waited += 1
        if config.schedule == "performance" and self.waited >= config.plateau_patience:
            self.rate_factor *= config.plateau_factor
            self.waited = 0
        return value == self.best

    def should_stop(self, config: Config) -> bool:
        """Return True if early stopping ends the run now."""
        return 0 < config.patience <= self.stale

    def to_json(self) -> dict[str, Any]:
        """Return the fields for a checkpoint. `TrainingState(**fields)` restores them."""
        return asdict(self)
