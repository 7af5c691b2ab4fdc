"""What training and evaluation refuse."""

from detector.errors import BoxwrightError


class DatasetError(BoxwrightError):
    """A data set, or one file of it, cannot be used."""


class ConfigError(BoxwrightError):
    """An option of a training run is unknown, outside its range, or at odds with another."""


class TrainingError(BoxwrightError):
    """A run cannot start or go on."""


class WorkerLost(TrainingError):
    """Another of the workers that train together is gone, or has ended the run."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged, cut short, or of another run."""


class FeatureFileError(TrainingError):
    """A file of kept features is damaged, cut short, or of other photos, weights or options."""
