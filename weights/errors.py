"""What storing, fetching and exporting models refuses, beside `detector.errors.ModelError`.

BoxwrightError
├── FetchError          a file cannot be had: no address gives it, or what they give is not it
│   └── DiskError       it cannot be written; no other address would help
├── ExportError         an export cannot be written, or does not say what the model says
└── StoreError          a folder of models has not what it is asked for
"""

from detector.errors import BoxwrightError


class FetchError(BoxwrightError):
    """A file cannot be had: no address gives it, or what they give is not it."""


class DiskError(FetchError):
    """The file cannot be written; no other address would help."""


class ExportError(BoxwrightError):
    """An export cannot be written, or does not say what the model says."""


class StoreError(BoxwrightError):
    """A folder of models has no such model or version, or cannot do what is asked with those it has."""
