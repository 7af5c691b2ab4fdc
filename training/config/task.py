"""The task of a run: data set, image sets and initial model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Data and initial model of a run. Stored as run.json."""

    dataset: str  # folder
    train_set: str
    val_set: str
    model: str | None  # name or file, see `weights.hub.resolve.resolve_model`; None: the default model
    background: str | None = None  # folder of images without the new objects, to count false alarms
    replay: str | None = None  # folder of images, labelled or not, that are remembered in addition to the model's memory
