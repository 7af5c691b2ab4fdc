"""A run read back from its folder, for reports. The run may be finished, in progress, or killed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

from training.config.options import Config
from training.config.task import Task
from training.data.voc_reader import Sample, data_fingerprint, label_partially, read_set
from training.optimization.early_stopping import watched_value
from training.run.folder import RunFolder
from training.run.metrics_log import StepMetrics

_NUMBERS = re.compile(r"\b\d+(?:%|e-\d+| times)")
"""Numbers in warnings of the layer monitor, which differ between validations."""


@dataclass(frozen=True)
class RunRecord:
    """The content of a run folder."""

    folder: RunFolder
    task: Task
    config: Config
    environment: dict[str, Any]
    outcome: dict[str, Any] | None
    metrics: Sequence[StepMetrics]  # of each step

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a run folder. Raises TrainingError if it is not a run folder, ConfigError."""
        folder, task, config = RunFolder.open(path)
        return cls(folder, task, config, folder.environment(), folder.outcome(), folder.metrics.read())

    @property
    def validations(self) -> list[StepMetrics]:
        """Metrics of the steps that a validation followed."""
        return [metrics for metrics in self.metrics if "ap50" in metrics]

    @property
    def best(self) -> StepMetrics | None:
        """Metrics of the step at which best.safetensors was saved: the last of equal ones."""
        return max(reversed(self.validations), key=lambda metrics: watched_value(metrics, self.config.watch), default=None)

    @property
    def steps_per_epoch(self) -> int | None:
        """Number of steps per epoch. None if the run was killed before environment.json was written."""
        images = self.environment.get("data", {}).get("train", {}).get("photos")
        return None if images is None else ceil(images / self.config.batch_size)

    @property
    def steps(self) -> int | None:
        """Planned number of steps."""
        return self.steps_per_epoch and self.steps_per_epoch * self.config.epochs

    @property
    def unfreezing_step(self) -> int | None:
        """The step from which frozen layers are trained, or None if the run unfreezes no layer."""
        if not self.steps_per_epoch or self.config.freeze == "none" or not 0 < self.config.frozen_epochs < self.config.epochs:
            return None
        return round(self.config.frozen_epochs * self.steps_per_epoch)

    @property
    def ending(self) -> str:
        """How the run ended, as a sentence."""
        if self.outcome:
            return f"{self.outcome['why'][:1].upper()}{self.outcome['why'][1:]}"
        return f"The run is still in progress, or it was killed. Resume it with --resume {self.folder.path}."

    @cached_property
    def warnings(self) -> dict[str, list[int]]:
        """The layer monitor's warnings and the steps at which each was given, in order of first appearance.

        Warnings that differ only in their numbers are merged; the last one is quoted.
        """
        merged: dict[str, tuple[str, list[int]]] = {}
        for metrics in self.validations:
            for sentence in metrics["sentences"]:
                key = _NUMBERS.sub("", sentence)
                merged[key] = sentence, [*merged.get(key, ("", []))[1], metrics["step"]]
        return dict(merged.values())

    def val_samples(self) -> list[Sample]:
        """Read the validation set. Raises DatasetError if the data are missing."""
        labelled = self.environment.get("labelled")
        return self._annotated_val if labelled is None else label_partially(self._annotated_val, labelled)

    @property
    def val_set(self) -> str:
        """Name of the set that the run was validated on: with `overfit`, the training set."""
        return self.task.train_set if self.config.overfit else self.task.val_set

    def is_validation_set_unchanged(self) -> bool:
        """Return whether the validation set has not changed since the start of the run. Raises DatasetError, OSError."""
        recorded = self.environment.get("data", {}).get("val")
        # Earlier versions recorded the fingerprint of the samples with the exhaustive labels of the run.
        return any(recorded == data_fingerprint(samples) for samples in (self._annotated_val, self.val_samples()))

    @cached_property
    def _annotated_val(self) -> list[Sample]:
        return read_set(Path(self.task.dataset), self.val_set)[: self.config.overfit or None]
