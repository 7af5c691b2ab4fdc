"""The resize methods that models were trained with: image -> (height, width, 3) float32, 0..255, written in place."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.network.spec import Resample

ResizeInput = NDArray[np.uint8] | Image.Image  # (H, W, 3) RGB, 0..255, or a Pillow RGB image, which avoids a copy.
ResizeOutput = NDArray[np.float32]  # (height, width, 3): destination of the resized image, possibly a view of a larger array.
Resize = Callable[[ResizeInput, ResizeOutput], None]

BAND_ROWS = 48  # Rows computed at a time, so that intermediate arrays fit into the cache of a core.
CUBIC_A = -0.75  # Coefficient of the cubic convolution (Keys 1981), as in OpenCV.


def resize_antialiased(image: ResizeInput, output: ResizeOutput) -> None:
    """Resize with Pillow's bilinear filter. Its window grows with the reduction."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    height, width = output.shape[:2]
    output[...] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def resize_darknet(image: ResizeInput, output: ResizeOutput) -> None:
    """Resize bilinearly with aligned corners and without antialiasing (Darknet src/image.c, resize_image)."""
    image = np.asarray(image)
    height, width = output.shape[:2]
    upper, lower, lower_weight = _neighbours(image.shape[0], height)
    result = output.reshape(height, width * 3)  # a view: the three channels are adjacent
    for start in range(0, height, BAND_ROWS):
        band = slice(start, start + BAND_ROWS)
        used, (above, below) = np.unique(np.stack([upper[band], lower[band]]), return_inverse=True)
        rows = _interpolate_columns(image[used], width)
        top, blended = rows[above], result[band]
        np.subtract(rows[below], top, out=blended)
        blended *= lower_weight[band, None]
        blended += top


def _interpolate_columns(rows: NDArray[np.uint8], width: int) -> NDArray[np.float32]:
    """(H, W, 3) -> (H, width * 3). Flat indices are faster in numpy than pixel indices."""
    left, right, right_weight = _neighbours(rows.shape[1], width)
    flat, channels = rows.reshape(len(rows), -1), np.arange(3)
    start = flat[:, (left[:, None] * 3 + channels).ravel()].astype(np.float32)
    change = flat[:, (right[:, None] * 3 + channels).ravel()] - start
    change *= np.repeat(right_weight, 3)
    start += change
    return start


def _neighbours(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return, for each of `new` positions along a side of `old` pixels: the pixel before, the pixel after, the weight of the latter."""
    step = np.float32(old - 1) / np.float32(new - 1) if new > 1 else np.float32(0)
    position = np.arange(new, dtype=np.float32) * step
    before = np.minimum(position.astype(np.intp), old - 1)
    return before, np.minimum(before + 1, old - 1), position - before.astype(np.float32)


def resize_cubic(image: ResizeInput, output: ResizeOutput) -> None:
    """Resize as OpenCV's INTER_CUBIC: aligned pixel centres, no antialiasing. Values may exceed 0..255."""
    rows = _cubic_along_rows(np.asarray(image), output.shape[0])
    output[...] = _cubic_along_rows(rows.swapaxes(0, 1), output.shape[1]).swapaxes(0, 1)


def _cubic_along_rows(x: NDArray[np.uint8] | NDArray[np.float32], new: int) -> NDArray[np.float32]:
    old = len(x)
    position = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(position).astype(np.intp)
    taps = np.arange(-1, 3)
    weights = _cubic_weights(np.abs((position - first)[:, None] - taps))  # (new, 4)
    pixels = np.clip(first[:, None] + taps, 0, old - 1)
    result = np.zeros((new, *x.shape[1:]), np.float32)
    for tap in range(4):
        result += x[pixels[:, tap]] * weights[:, tap, None, None]
    return result


def _cubic_weights(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    a, t = CUBIC_A, distance
    near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, far).astype(np.float32)


RESIZE: Mapping[Resample, Resize] = {"darknet": resize_darknet, "antialiased": resize_antialiased, "cubic": resize_cubic}
