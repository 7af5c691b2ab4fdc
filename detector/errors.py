"""What the detector refuses, as one small tree. `weights`, `training` and `service` have branches of their own in their `errors.py`.

    BoxwrightError
    ├── ImageError             a photo cannot be used
    │   ├── EmptyImage         no bytes at all
    │   ├── NotAnImage         bytes of no format we read
    │   ├── DamagedImage       cut short or corrupt
    │   └── ImageTooLarge      more pixels than allowed
    ├── ModelError             a model cannot be used
    │   ├── NetworkError       its layers do not fit one another
    │   ├── ArraysError        its arrays do not fit its layers
    │   └── ModelFileError     its file is damaged, foreign, or from the future
    ├── UnknownModel           no model of that name
    ├── UnknownLabel           the model has no such class
    ├── SettingError           a threshold or option outside its range
    ├── MissingExtra           needs packages of an extra that is not installed
    └── KeepError              an engine cannot be kept on disk, or what is there is none

A message says what, where, what was got, what was wanted and what to do.
"""

from collections.abc import Collection
from itertools import islice

MAX_LISTED = 100


def join_names(names: Collection[str]) -> str:
    """Names for a message, with commas between them: the first MAX_LISTED, and how many more there are. YOLO9000 has 9,418 labels."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(islice(names, MAX_LISTED)) + more


class BoxwrightError(Exception):
    """Whatever Boxwright itself refuses; the message is a sentence for a person."""


class ImageError(BoxwrightError):
    """A photo cannot be used."""


class EmptyImage(ImageError):
    """There are no bytes."""


class NotAnImage(ImageError):
    """The bytes are of no image format that we read."""


class DamagedImage(ImageError):
    """The image is cut short or corrupt."""


class ImageTooLarge(ImageError):
    """The image has more pixels than allowed."""


class ModelError(BoxwrightError):
    """A model cannot be used."""


class NetworkError(ModelError):
    """Layers do not fit one another."""


class ArraysError(ModelError):
    """Arrays do not fit the layers."""


class ModelFileError(ModelError):
    """A model file is damaged, foreign, or written by a later version."""


class UnknownModel(BoxwrightError):
    """There is no model of that name."""


class UnknownLabel(BoxwrightError):
    """The model has no class of that name."""


class SettingError(BoxwrightError):
    """A threshold or option is outside its range."""


class MissingExtra(BoxwrightError):
    """The packages of an extra are needed and not installed."""


class EngineCacheError(BoxwrightError):
    """An engine cannot be kept on disk, or what is kept there cannot be run."""
