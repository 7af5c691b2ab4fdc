"""Errors of training and evaluation."""

from detector.errors import BoxwrightError


class DatasetError(BoxwrightError):
    """A data set, or a file of it, cannot be used."""


class ConfigError(BoxwrightError):
    """An option of a training run is unknown, out of range, or incompatible with another option."""


class TrainingError(BoxwrightError):
    """A run cannot start or continue."""


class WorkerLost(TrainingError):
    """Another worker of the run has ended."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged, truncated, or belongs to another run."""


class FeatureFileError(TrainingError):
    """A feature file is damaged, truncated, or belongs to other images, weights or options."""
