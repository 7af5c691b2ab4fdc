"""Which way up a photo is stored, and what that does to boxes drawn on it that way.

Photos are read upright everywhere (`detector.imaging.image`). A labelling tool that ignores the EXIF orientation shows them as stored: its
sizes and boxes are in that frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.detections import Boxes
from detector.imaging.image_files import open_image_file

Size = tuple[int, int]
"""width, height in pixels."""
_Corners = tuple[Boxes, Boxes, Boxes, Boxes]
"""xmin, ymin, xmax, ymax, each (N,)."""


@dataclass(frozen=True)
class PhotoFrame:
    """A photo's size as stored, and its EXIF orientation (1 upright, 2 to 8 turned or mirrored; CIPA DC-008, tag 0x0112)."""

    stored: Size
    orientation: int = 1

    @classmethod
    def of(cls, data: bytes) -> "PhotoFrame":
        """What the photo's header says. Raises ImageError."""
        photo = open_image_file(data)
        return cls(photo.size, photo.orientation)

    @property
    def upright(self) -> Size:
        """width, height as `read_image` gives it."""
        width, height = self.stored
        return (height, width) if 5 <= self.orientation <= 8 else (width, height)

    @property
    def is_turned(self) -> bool:
        """Whether the stored pixels are not the upright ones."""
        return self.orientation in _TURNS

    def to_upright(self, boxes: Boxes) -> Boxes:
        """(N, 4) xyxy in pixels of the photo as stored -> the same of the upright photo."""
        turn = _TURNS.get(self.orientation)
        if turn is None:
            return boxes
        width, height = (np.float32(side) for side in self.stored)
        return np.stack(turn(*boxes.T, width, height), axis=-1).astype(np.float32)


# x0, y0, x1, y1 and the stored width and height -> the corners in the upright photo
_TURNS: dict[int, Callable[..., _Corners]] = {
    2: lambda x0, y0, x1, y1, w, _: (w - x1, y0, w - x0, y1),
    3: lambda x0, y0, x1, y1, w, h: (w - x1, h - y1, w - x0, h - y0),
    4: lambda x0, y0, x1, y1, _, h: (x0, h - y1, x1, h - y0),
    5: lambda x0, y0, x1, y1, *_: (y0, x0, y1, x1),
    6: lambda x0, y0, x1, y1, _, h: (h - y1, x0, h - y0, x1),
    7: lambda x0, y0, x1, y1, w, h: (h - y1, w - x1, h - y0, w - x0),
    8: lambda x0, y0, x1, y1, w, _: (y0, w - x1, y1, w - x0),
}
