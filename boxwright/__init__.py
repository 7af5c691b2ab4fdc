"""Detect objects in images.

>>> import boxwright
>>> model = boxwright.load("everyday")
>>> result = model.detect("cat.jpg")
>>> for found in result:
...     print(found.label, found.score, found.box)
>>> result.draw().save("cat.boxes.jpg")

`boxwright.Client("http://localhost:8000")` sends the images to a running service instead.
Errors are `boxwright.BoxwrightError`; a file that cannot be read raises OSError.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boxwright.images import ImageSource
    from boxwright.local import Detector, load
    from boxwright.remote import Client
    from boxwright.results import DetectedObject, Detections
    from detector.errors import BoxwrightError

__all__ = ["BoxwrightError", "Client", "DetectedObject", "Detections", "Detector", "ImageSource", "load"]

_MODULES = {
    "BoxwrightError": "detector.errors",
    "Client": "boxwright.remote",
    "DetectedObject": "boxwright.results",
    "Detections": "boxwright.results",
    "Detector": "boxwright.local",
    "ImageSource": "boxwright.images",
    "load": "boxwright.local",
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that `import boxwright` is fast."""
    if name not in _MODULES:
        raise AttributeError(f"module 'boxwright' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
