"""Errors of storing, downloading and exporting models. Errors about a model itself are in `detector.errors`.

BoxwrightError
├── FetchError          a file cannot be obtained from any of its addresses
│   └── DiskError       a file cannot be written, so another address would not help
├── ExportError         an export cannot be written, or computes something else than the model
└── RepositoryError     a folder of models lacks what the caller names
"""

from detector.errors import BoxwrightError


class FetchError(BoxwrightError):
    """A file cannot be obtained: every address fails or sends a different file."""


class DiskError(FetchError):
    """A file cannot be written, so another address would not help."""


class ExportError(BoxwrightError):
    """An export cannot be written, or computes something else than the model."""


class RepositoryError(BoxwrightError):
    """A folder of models has no such model or version, or cannot make the change."""
