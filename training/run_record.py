"""What a run has left behind so far, read back: enough for a report, whether it ended, goes on or was killed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

from training.config import Config
from training.progress import measured
from training.run_folder import Row, RunFolder, Task, fingerprint
from training.voc import Sample, read_set

_NUMBERS = re.compile(r"\b\d+(?:%|e-\d+| times)")
"""In the watcher's sentences: what is another from check to check."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells of it."""

    folder: RunFolder
    task: Task
    config: Config
    environment: dict[str, Any]
    outcome: dict[str, Any] | None
    rows: Sequence[Row]  # one for each step

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Raises TrainingError where the folder is none of a run, ConfigError."""
        folder, task, config = RunFolder.open(path)
        return cls(folder, task, config, folder.environment(), folder.outcome(), folder.rows())

    @property
    def checks(self) -> list[Row]:
        """The steps that a check on the validation set followed."""
        return [row for row in self.rows if "ap50" in row]

    @property
    def best(self) -> Row | None:
        """The check whose weights are best.safetensors: of equals the first."""
        return max(self.checks, key=lambda row: measured(row, self.config.watch), default=None)

    @property
    def steps_per_epoch(self) -> int | None:
        """None where it was killed before it knew."""
        photos = self.environment.get("data", {}).get("train", {}).get("photos")
        return None if photos is None else ceil(photos / self.config.batch_size)

    @property
    def steps(self) -> int | None:
        """Of the whole run."""
        return self.steps_per_epoch and self.steps_per_epoch * self.config.epochs

    @property
    def unfrozen_at(self) -> int | None:
        """The step from which what was frozen trains too; None where nothing was, or nothing of it does."""
        if not self.steps_per_epoch or self.config.freeze == "none" or not 0 < self.config.unfreeze_at < self.config.epochs:
            return None
        return round(self.config.unfreeze_at * self.steps_per_epoch)

    @property
    def ending(self) -> str:
        """How it ended, as a sentence."""
        if self.outcome:
            return f"{self.outcome['why'][:1].upper()}{self.outcome['why'][1:]}"
        return f"It has not told of an end: it goes on at this moment, or was killed. --resume {self.folder.path} goes on."

    @cached_property
    def sentences(self) -> dict[str, list[int]]:
        """What the watcher said, in the order in which it was first said, and after which steps; of what only its numbers changed,
        the last."""
        said: dict[str, tuple[str, list[int]]] = {}
        for row in self.checks:
            for sentence in row["sentences"]:
                what = _NUMBERS.sub("", sentence)
                said[what] = sentence, [*said.get(what, ("", []))[1], row["step"]]
        return dict(said.values())

    def val_samples(self) -> list[Sample]:
        """What the run is checked on. Raises DatasetError where the data are not there any more."""
        if self.config.overfit:
            return read_set(Path(self.task.dataset), self.task.train_set)[: self.config.overfit]
        return read_set(Path(self.task.dataset), self.task.val_set)

    def is_as_trained(self, val: Sequence[Sample]) -> bool:
        """Whether the validation set is the one that the run was begun with. Raises OSError."""
        told = self.environment.get("data", {}).get("val")
        return bool(told == fingerprint(val))
