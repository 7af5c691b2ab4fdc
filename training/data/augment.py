"""Random changes of images and their boxes. Every function is pure: randomness is an argument."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.boxes.detections import Boxes
from detector.boxes.geometry import box_area
from detector.boxes.placement import GREY, ImageArray, Pixels
from detector.imaging.resample import RESIZE
from training.config.options import Config
from training.data.ground_truth import PartialRegion, Role

MIN_VISIBLE_SIDE = 1.0  # Image pixels. A box that is clipped to less than this is dropped.


@dataclass(frozen=True, eq=False)
class View:
    """A part of an image, or a mosaic, with its ground truth in pixels of this view."""

    image: ImageArray
    boxes: Boxes  # (N, 4) xyxy
    class_ids: NDArray[np.int64]  # (N,)
    roles: NDArray[np.int8]  # (N,) a Role each
    partial: tuple[PartialRegion, ...] = ()  # of an image: WHOLE_IMAGE or none; of a mosaic: one for each partially labelled tile


@dataclass(frozen=True)
class Window:
    """A rectangle in image pixels. It may extend beyond the image; that part becomes grey."""

    left: int
    top: int
    width: int
    height: int


def crop(view: View, window: Window, min_visible: float) -> View:
    """Return the part of the view in a window. Drop an object if less than the fraction `min_visible` of its area remains."""
    height, width = view.image.shape[:2]
    image = np.full((window.height, window.width, 3), round(GREY), np.uint8)
    left, right = max(window.left, 0), min(window.left + window.width, width)
    top, bottom = max(window.top, 0), min(window.top + window.height, height)
    if left < right and top < bottom:
        visible = view.image[top:bottom, left:right]
        image[top - window.top : bottom - window.top, left - window.left : right - window.left] = visible
    return _clip(replace(view, image=image, boxes=view.boxes - np.array([window.left, window.top] * 2, np.float32)), min_visible)


def _clip(view: View, min_visible: float) -> View:
    """Clip boxes to the view; drop objects that are mostly outside of it, and empty and reversed boxes."""
    height, width = view.image.shape[:2]
    boxes = np.clip(view.boxes, 0, np.array([width, height, width, height], np.float32))
    is_large_enough = (boxes[:, 2:4] - boxes[:, 0:2] >= MIN_VISIBLE_SIDE).all(axis=1)
    visible = is_large_enough & ((box_area(boxes) >= min_visible * box_area(view.boxes)) | (view.roles != Role.OBJECT))
    return replace(view, boxes=boxes[visible], class_ids=view.class_ids[visible], roles=view.roles[visible])


def flip(view: View) -> View:
    """Return the view mirrored left to right."""
    return _mirrored(view, axis=1)


def flip_vertical(view: View) -> View:
    """Return the view mirrored top to bottom."""
    return _mirrored(view, axis=0)


def _mirrored(view: View, axis: int) -> View:
    first = 1 - axis  # axis 0 of the image is y, which is the second coordinate of a box
    boxes = view.boxes.copy()
    boxes[:, [first, first + 2]] = view.image.shape[axis] - view.boxes[:, [first + 2, first]]
    return replace(view, image=np.flip(view.image, axis), boxes=boxes)


def resize(view: View, width: int, height: int) -> View:
    """Return the view resized to width x height, without keeping the aspect ratio."""
    scale_x, scale_y = width / view.image.shape[1], height / view.image.shape[0]
    resized = np.empty((height, width, 3), np.float32)
    RESIZE["antialiased"](view.image, resized)
    image = np.rint(resized).astype(np.uint8)
    return replace(view, image=image, boxes=view.boxes * np.array([scale_x, scale_y, scale_x, scale_y], np.float32))


def mosaic(views: tuple[View, View, View, View], size: int, centre: tuple[int, int]) -> View:
    """Return a square of four views that meet at `centre` (x, y): top left, top right, bottom left, bottom right."""
    x, y = centre
    image = np.empty((size, size, 3), np.uint8)
    quarters = ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size))
    boxes, class_ids, partial = [], [], []
    for view, (left, top, right, bottom) in zip(views, quarters, strict=True):
        tile = resize(view, right - left, bottom - top)
        image[top:bottom, left:right] = tile.image
        boxes.append(tile.boxes + np.array([left, top, left, top], np.float32))
        class_ids.append(tile.class_ids)
        partial += [replace(region, box=np.array([left, top, right, bottom], np.float32)) for region in view.partial]
    roles = np.concatenate([view.roles for view in views])
    return _clip(View(image, np.concatenate(boxes), np.concatenate(class_ids), roles, tuple(partial)), 0.0)


def distort_colour(pixels: Pixels, *, hue: float, saturation: float, exposure: float) -> Pixels:
    """Change the colours of pixels (S, S, 3) float32 in 0..255. (0, 1, 1) changes nothing.

    Args:
        pixels: The image. It is converted to HSV with 8 bits, as in Darknet (src/image.c, distort_image).
        hue: Shift of the hue, as a fraction of the colour circle.
        saturation: Factor of the saturation.
        exposure: Factor of the value.
    """
    if (hue, saturation, exposure) == (0.0, 1.0, 1.0):
        return pixels
    hsv = np.asarray(Image.fromarray(np.rint(pixels).astype(np.uint8)).convert("HSV"))
    levels = np.arange(256)
    tables = ((levels + round(hue * 256)) % 256, *(np.clip(levels * factor, 0, 255) for factor in (saturation, exposure)))
    changed = np.stack([np.rint(table).astype(np.uint8)[hsv[..., channel]] for channel, table in enumerate(tables)], axis=-1)
    return np.asarray(Image.fromarray(changed, "HSV").convert("RGB"), np.float32)


def random_window(rng: np.random.Generator, view: View, config: Config) -> Window:
    """Return a random window of about the size of the view."""
    height, width = view.image.shape[:2]
    zoom, aspect = rng.uniform(-config.scale, config.scale), rng.uniform(-config.aspect, config.aspect)
    stretch = np.exp(aspect / 2)
    window_width = max(8, round(width * np.exp(zoom) * stretch))
    window_height = max(8, round(height * np.exp(zoom) / stretch))
    shift = rng.uniform(-config.translate, config.translate, 2) * (width, height)
    left, top = (width - window_width) / 2 + shift[0], (height - window_height) / 2 + shift[1]
    return Window(round(left), round(top), window_width, window_height)


def random_view(rng: np.random.Generator, view: View, config: Config) -> View:
    """Return a random part of the view, randomly mirrored."""
    part = crop(view, random_window(rng, view, config), config.min_visible)
    part = flip(part) if rng.random() < config.flip else part
    return flip_vertical(part) if config.flip_vertical and rng.random() < config.flip_vertical else part


def random_colour(rng: np.random.Generator, pixels: Pixels, config: Config) -> Pixels:
    """Change colours at random. Factors are as often above 1 as below (Darknet src/utils.c, rand_scale)."""
    hue = rng.uniform(-config.hue, config.hue)
    logs = [rng.uniform(-np.log(limit), np.log(limit)) for limit in (config.saturation, config.exposure)]
    return distort_colour(pixels, hue=hue, saturation=float(np.exp(logs[0])), exposure=float(np.exp(logs[1])))
