"""Weights of the loss terms."""

from typing import NamedTuple


class Scales(NamedTuple):
    """Weights of the loss terms."""

    object: float
    noobject: float
    class_: float
    coord: float


DEFAULT_SCALES = {"modern": Scales(1.0, 0.5, 1.0, 2.5), "darknet": Scales(5.0, 1.0, 1.0, 1.0)}
"""Darknet's weights suit its squared errors. With cross-entropies, objectness would dominate boxes and classes."""
