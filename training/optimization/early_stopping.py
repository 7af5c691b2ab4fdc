"""What a run remembers from check to check: the best so far, patience, and how often the learning rate was cut."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from training.config import Config


def measured(row: Mapping[str, Any], watch: str) -> float:
    """Return the number of a check that `Config.watch` names; larger is better, so the loss is negative."""
    keys = {"ap": "ap50", "ap-frequent": "ap50_frequent", "ap-weighted": "ap50_weighted"}
    return float(row[keys[watch]]) if watch in keys else -float(row["val_loss"])


@dataclass
class Progress:
    """Where a run stands. Goes into checkpoints as JSON."""

    step: int = 0  # steps made
    best: float | None = None  # see `measured`
    best_step: int = 0
    stale: int = 0  # checks since the best
    waited: int = 0  # checks since the best or the last cut of the learning rate
    rate_factor: float = 1.0

    def observe(self, value: float, config: Config) -> bool:
        """Note a check's value, larger is better; whether it is the best so far."""
        if self.best is None or value > self.best:
            self.best, self.best_step, self.stale, self.waited = value, self.step, 0, 0
            return True
        self.stale += 1
        self.waited += 1
        if config.schedule == "performance" and self.waited >= config.plateau_patience:
            self.rate_factor *= config.plateau_factor
            self.waited = 0
        return False

    def out_of_patience(self, config: Config) -> bool:
        """Whether early stopping ends the run now."""
        return 0 < config.patience <= self.stale

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint; `Progress(**...)` takes it back."""
        return asdict(self)
