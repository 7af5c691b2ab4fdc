"""What training and evaluation refuse."""

from detector.errors import BoxwrightError


class DatasetError(BoxwrightError):
    """A data set, or one file of it, cannot be used."""
