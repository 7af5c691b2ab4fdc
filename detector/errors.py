"""The error tree of the detector. `weights`, `training` and `service` add branches in their own `errors.py`.

    BoxwrightError
    ├── ImageError             an image cannot be used
    │   ├── EmptyImage         the file has no bytes
    │   ├── NotAnImage         the format is not supported
    │   ├── DamagedImage       the file is truncated or corrupt
    │   └── ImageTooLarge      decoding exceeds a limit
    ├── ModelError             a model cannot be used
    │   ├── NetworkError       its layers do not fit together
    │   ├── ArraysError        its arrays do not fit its layers
    │   └── ModelFileError     its file is damaged, of another format, or from a later version
    ├── UnknownModel           no model has that name
    ├── UnknownLabel           the model has no such class
    ├── SettingError           an option or setting is not valid
    ├── MissingExtra           packages of an extra are not installed
    └── EngineCacheError       an engine cannot be written to the cache or read from it

A message states what is wrong, where, what was expected, and what to do.
"""


class BoxwrightError(Exception):
    """Base class of all errors that Boxwright raises on purpose. The message is a sentence for a person."""


class ImageError(BoxwrightError):
    """An image cannot be used."""


class EmptyImage(ImageError):
    """The image file has no bytes."""


class NotAnImage(ImageError):
    """The image format is not supported."""


class DamagedImage(ImageError):
    """The image file is truncated or corrupt."""


class ImageTooLarge(ImageError):
    """Decoding the image exceeds a limit."""


class ModelError(BoxwrightError):
    """A model cannot be used."""


class NetworkError(ModelError):
    """The layers of a network do not fit together."""


class ArraysError(ModelError):
    """The arrays of a model do not fit its layers."""


class ModelFileError(ModelError):
    """A model file is damaged, of another format, or written by a later version."""


class UnknownModel(BoxwrightError):
    """No model has that name."""


class UnknownLabel(BoxwrightError):
    """The model has no class of that name."""


class SettingError(BoxwrightError):
    """An option or setting is not valid, or the model or the machine does not support it."""


class MissingExtra(BoxwrightError):
    """The packages of an extra are needed but not installed."""


class EngineCacheError(BoxwrightError):
    """An engine cannot be written to the cache or read from it."""
