"""Placement of an image in the network's square input, and box conversion in both directions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.imaging.resample import RESIZE, ResizeInput
from detector.network.spec import Edges, ModelSpec, Resample

ImageArray = NDArray[np.uint8]  # (H, W, 3) RGB, 0..255.
Pixels = NDArray[np.float32]  # (S, S, 3) RGB, 0..255, S the network's input size.

GREY = 127.5  # Padding value of a letterbox: 0.5 after scaling to 0..1 (Darknet src/image.c, letterbox_image).


@dataclass(frozen=True)
class Placement:
    """An image of `width` x `height`, resized to `resized_width` x `resized_height` and centred in a square of `size` pixels."""

    size: int  # network pixels
    width: int  # image pixels
    height: int
    resized_width: int  # network pixels
    resized_height: int
    resample: Resample
    edges: Edges

    @classmethod
    def fit(cls, spec: ModelSpec, image: ImageArray) -> "Placement":
        """Return the placement of an image in the input of a model; see `ModelSpec.fit`."""
        return cls.of(spec, image.shape[1], image.shape[0])

    @classmethod
    def of(cls, spec: ModelSpec, width: int, height: int) -> "Placement":
        """Return the placement of an image of `width` x `height` pixels."""
        size = spec.input_size
        if spec.fit == "stretch":
            resized_width = resized_height = size
        elif width >= height:  # integers rounded down, as in Darknet
            resized_width, resized_height = size, max(1, height * size // width)
        else:
            resized_width, resized_height = max(1, width * size // height), size
        return cls(size, width, height, resized_width, resized_height, spec.resample, spec.edges)

    def apply(self, image: ResizeInput) -> Pixels:
        """Resize an image to (size, size, 3) float32, 0..255, padded with GREY.

        Args:
            image: (height, width, 3) uint8, or a Pillow RGB image. It may be a reduced copy that is smaller than
                `width` x `height`, but not smaller than `resized_width` x `resized_height`.
        """
        pixels = np.empty((self.size, self.size, 3), np.float32)
        left, top = (self.size - self.resized_width) // 2, (self.size - self.resized_height) // 2
        right, bottom = left + self.resized_width, top + self.resized_height
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
        x_scale, y_scale = self.resized_width / self.width, self.resized_height / self.height
        return np.array([x_scale, y_scale, x_scale, y_scale], np.float32)

    @property
    def _last_pixel(self) -> Boxes:
        extra = 1 if self.edges == "inclusive" else 0  # an inclusive box contains its last pixel
        return np.array([0, 0, extra, extra], np.float32)

    @property
    def _offset(self) -> Boxes:
        # The offset keeps half of an odd margin, which `apply` rounds down. Darknet does the same (correct_region_boxes,
        # letterbox_image), and the boxes must equal Darknet's.
        left, top = (self.size - self.resized_width) / 2, (self.size - self.resized_height) / 2
        return np.array([left, top, left, top], np.float32)
