"""Errors of storing, downloading and exporting models. Errors about a model itself are in `detector.errors`."""

from detector.errors import BoxwrightError


class FetchError(BoxwrightError):
    """A file cannot be obtained: every address fails or sends a different file."""


class DiskError(FetchError):
    """A file cannot be written, so another address would not help."""


class ExportError(BoxwrightError):
    """An export cannot be written, or its output differs from the model's."""


class RepositoryError(BoxwrightError):
    """The model folder has no such model or version, or the change is not possible."""
