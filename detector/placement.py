"""Where a photo lies in the network's square input, there and back. One of the three places where a box changes its frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.detections import Boxes
from detector.imaging.resample import RESIZE, Photo
from detector.spec import Edges, ModelSpec, Resample

ImageArray = NDArray[np.uint8]
"""(H, W, 3) RGB, 0..255."""
Pixels = NDArray[np.float32]
"""(S, S, 3) RGB, 0..255, S the network's input size."""

GREY = 127.5
"""What a letterbox pads with: 0.5 once scaled to 0..1 (Darknet src/image.c, letterbox_image)."""


@dataclass(frozen=True)
class Placement:
    """A photo of `width` x `height` shown as `shown_width` x `shown_height` in the middle of a square of `size` pixels."""

    size: int  # network pixels
    width: int  # image pixels
    height: int
    shown_width: int  # network pixels
    shown_height: int
    resample: Resample
    edges: Edges

    @classmethod
    def fit(cls, spec: ModelSpec, image: ImageArray) -> "Placement":
        """The placement that the model was trained with: the whole square, or as large as the photo's proportions allow."""
        return cls.of(spec, image.shape[1], image.shape[0])

    @classmethod
    def of(cls, spec: ModelSpec, width: int, height: int) -> "Placement":
        """The same for a photo of `width` x `height` image pixels."""
        size = spec.input_size
        if spec.fit == "stretch":
            shown_width = shown_height = size
        elif width >= height:  # integers rounded down, as in Darknet
            shown_width, shown_height = size, max(1, height * size // width)
        else:
            shown_width, shown_height = max(1, width * size // height), size
        return cls(size, width, height, shown_width, shown_height, spec.resample, spec.edges)

    def apply(self, image: Photo) -> Pixels:
        """(height, width, 3) uint8, or Pillow's RGB image -> (size, size, 3) float32, 0..255, padded with GREY.

        A copy of the photo that is smaller than `width` x `height`, but no smaller than what is shown, will do as well.
        """
        pixels = np.empty((self.size, self.size, 3), np.float32)
        left, top = (self.size - self.shown_width) // 2, (self.size - self.shown_height) // 2
        right, bottom = left + self.shown_width, top + self.shown_height
        for margin in (pixels[:top], pixels[bottom:], pixels[:, :left], pixels[:, right:]):
            margin[...] = GREY
        RESIZE[self.resample](image, pixels[top:bottom, left:right])
        return pixels

    def to_network(self, boxes: Boxes) -> Boxes:
        """(N, 4) xyxy, image pixels -> network pixels."""
        return (boxes - self._last_pixel) * self._scale + self._offset

    def to_image(self, boxes: Boxes) -> Boxes:
        """(N, 4) xyxy, network pixels -> image pixels, not clipped."""
        return (boxes - self._offset) / self._scale + self._last_pixel

    @property
    def _scale(self) -> Boxes:
        across, down = self.shown_width / self.width, self.shown_height / self.height
        return np.array([across, down, across, down], np.float32)

    @property
    def _last_pixel(self) -> Boxes:
        far = 1 if self.edges == "inclusive" else 0  # the last pixel of such a box is still inside
        return np.array([0, 0, far, far], np.float32)

    @property
    def _offset(self) -> Boxes:
        # Half of an odd margin is kept here and dropped in `apply`: so does Darknet (correct_region_boxes, letterbox_image),
        # and its boxes are the ones to meet.
        left, top = (self.size - self.shown_width) / 2, (self.size - self.shown_height) / 2
        return np.array([left, top, left, top], np.float32)
