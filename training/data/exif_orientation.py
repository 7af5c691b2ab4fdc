"""EXIF orientation of image files, and its effect on boxes.

Images are decoded upright everywhere (`detector.imaging.image`). A labelling tool that ignores the EXIF orientation displays the stored
pixels: its sizes and boxes refer to the stored frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.boxes.detections import Boxes
from detector.errors import ImageError
from detector.imaging.image import read_image_bytes
from detector.imaging.image_files import open_image_file
from training.errors import DatasetError

Size = tuple[int, int]  # width, height in pixels.
_Coordinates = tuple[Boxes, Boxes, Boxes, Boxes]  # xmin, ymin, xmax, ymax, each (N,).


@dataclass(frozen=True)
class ExifFrame:
    """Stored size and EXIF orientation of an image file.

    Orientation 1 is upright; 2 to 8 are rotated or mirrored (CIPA DC-008, tag 0x0112).
    """

    stored: Size
    orientation: int = 1

    @classmethod
    def of(cls, data: bytes) -> "ExifFrame":
        """Read the header of an image file. Raises ImageError."""
        file = open_image_file(data)
        return cls(file.size, file.orientation)

    @classmethod
    def read(cls, image: Path) -> "ExifFrame":
        """Read the header of an image on disk. Raises DatasetError if it is not an image, OSError."""
        try:
            data = read_image_bytes(image)
            if not data:
                raise DatasetError(f"{image}: the image file is empty.")
            return cls.of(data)
        except ImageError as error:
            raise DatasetError(f"{image}: {error}") from error

    @property
    def upright(self) -> Size:
        """Width and height of the decoded image."""
        width, height = self.stored
        return (height, width) if 5 <= self.orientation <= 8 else (width, height)

    @property
    def is_rotated(self) -> bool:
        """True if the stored pixels are rotated or mirrored."""
        return self.orientation in _TO_UPRIGHT

    def to_upright(self, boxes: Boxes) -> Boxes:
        """Transform boxes (N, 4) xyxy from pixels of the stored frame to pixels of the upright image."""
        transform = _TO_UPRIGHT.get(self.orientation)
        if transform is None:
            return boxes
        width, height = (np.float32(side) for side in self.stored)
        return np.stack(transform(*boxes.T, width, height), axis=-1).astype(np.float32)


# (x0, y0, x1, y1, stored width, stored height) -> coordinates in the upright image
_TO_UPRIGHT: dict[int, Callable[..., _Coordinates]] = {
    2: lambda x0, y0, x1, y1, w, _: (w - x1, y0, w - x0, y1),
    3: lambda x0, y0, x1, y1, w, h: (w - x1, h - y1, w - x0, h - y0),
    4: lambda x0, y0, x1, y1, _, h: (x0, h - y1, x1, h - y0),
    5: lambda x0, y0, x1, y1, *_: (y0, x0, y1, x1),
    6: lambda x0, y0, x1, y1, _, h: (h - y1, x0, h - y0, x1),
    7: lambda x0, y0, x1, y1, w, h: (h - y1, w - x1, h - y0, w - x0),
    8: lambda x0, y0, x1, y1, w, _: (y0, w - x1, y1, w - x0),
}
