"""The ways in which weights were shown their photos: (H, W, 3) uint8, or Pillow's image -> (height, width, 3) float32, 0..255, in place."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.spec import Resample

Photo = NDArray[np.uint8] | Image.Image
"""(H, W, 3) RGB, 0..255, or Pillow's own, of which no copy need be made."""
Shown = NDArray[np.float32]
"""(height, width, 3): where the resized photo goes, a part of a larger array perhaps."""
Resize = Callable[[Photo, Shown], None]

BAND = 48
"""Rows that are made at a time: so few that what lies between stays in a core's cache, and is no page of its own."""
CUBIC_A = -0.75
"""Sharpness of the cubic convolution (Keys 1981), as OpenCV has it."""


def antialiased(image: Photo, shown: Shown) -> None:
    """Pillow's bilinear, whose window grows with the reduction."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    height, width = shown.shape[:2]
    shown[...] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def aligned(image: Photo, shown: Shown) -> None:
    """Bilinear with aligned corners and no antialiasing (Darknet src/image.c, resize_image): four pixels make one."""
    image = np.asarray(image)
    height, width = shown.shape[:2]
    upper, lower, down = _neighbours(image.shape[0], height)
    result = shown.reshape(height, width * 3)  # a view: pixels lie close together
    for start in range(0, height, BAND):
        band = slice(start, start + BAND)
        used, (above, below) = np.unique(np.stack([upper[band], lower[band]]), return_inverse=True)
        rows = _blended_along(image[used], width)
        top, blended = rows[above], result[band]
        np.subtract(rows[below], top, out=blended)
        blended *= down[band, None]
        blended += top


def _blended_along(rows: NDArray[np.uint8], width: int) -> NDArray[np.float32]:
    """(H, W, 3) -> (H, width * 3). Numbers are looked up one by one, which numpy does quicker than pixels."""
    left, right, across = _neighbours(rows.shape[1], width)
    flat, channels = rows.reshape(len(rows), -1), np.arange(3)
    start = flat[:, (left[:, None] * 3 + channels).ravel()].astype(np.float32)
    change = flat[:, (right[:, None] * 3 + channels).ravel()] - start
    change *= np.repeat(across, 3)
    start += change
    return start


def _neighbours(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `new` places along a side of `old` pixels: the pixel before, the one after, the share of the latter."""
    step = np.float32(old - 1) / np.float32(new - 1) if new > 1 else np.float32(0)
    place = np.arange(new, dtype=np.float32) * step
    before = np.minimum(place.astype(np.intp), old - 1)
    return before, np.minimum(before + 1, old - 1), place - before.astype(np.float32)


def cubic(image: Photo, shown: Shown) -> None:
    """OpenCV's INTER_CUBIC: centres of pixels aligned, no antialiasing, sixteen pixels make one; beyond 0..255 where it overshoots."""
    rows = _cubic_along_rows(np.asarray(image), shown.shape[0])
    shown[...] = _cubic_along_rows(rows.swapaxes(0, 1), shown.shape[1]).swapaxes(0, 1)


def _cubic_along_rows(x: NDArray[np.uint8] | NDArray[np.float32], new: int) -> NDArray[np.float32]:
    old = len(x)
    place = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(place).astype(np.intp)
    taps = np.arange(-1, 3)
    weights = _cubic_weights(np.abs((place - first)[:, None] - taps))  # (new, 4)
    pixels = np.clip(first[:, None] + taps, 0, old - 1)
    result = np.zeros((new, *x.shape[1:]), np.float32)
    for tap in range(4):
        result += x[pixels[:, tap]] * weights[:, tap, None, None]
    return result


def _cubic_weights(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    a, t = CUBIC_A, distance
    near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, far).astype(np.float32)


RESIZE: Mapping[Resample, Resize] = {"darknet": aligned, "antialiased": antialiased, "cubic": cubic}
