"""Inputs of a run: data set, image sets and initial model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Data and initial model of a run. Stored as run.json."""

    dataset: str  # folder
    train_set: str
    val_set: str
    model: str | None  # name or file, see `weights.hub.resolve.resolve_model`; None: the default model
