"""Rotated boxes of annotation tools. CVAT writes the unrotated box and an angle; we use the upright rectangle around the rotated box."""

import math

from detector.boxes.detections import Corners


def is_rotated(degrees: float) -> bool:
    """Return True unless the rotation maps the box onto itself."""
    return degrees % 180 != 0


def rectangle_around(corners: Corners, degrees: float) -> Corners:
    """Return the upright rectangle around a box that is rotated about its centre. The direction of the rotation does not matter.

    >>> rectangle_around((10, 20, 30, 24), 90)
    (18.0, 12.0, 22.0, 32.0)
    """
    if not is_rotated(degrees):
        return corners
    xmin, ymin, xmax, ymax = corners
    cos, sin = (0.0, 1.0) if degrees % 90 == 0 else (abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees))))
    half_width = ((xmax - xmin) * cos + (ymax - ymin) * sin) / 2
    half_height = ((xmax - xmin) * sin + (ymax - ymin) * cos) / 2
    x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height
