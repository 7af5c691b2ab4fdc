"""Pictures changed at random, and their boxes with them. Every function is pure: what is random comes in as a number or a generator."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.boxes import box_area
from detector.detections import Boxes
from detector.placement import GREY, Picture, Pixels
from detector.resample import RESIZE
from training.config import Config
from training.targets import PartialRegion, Role

SMALLEST_SIDE = 1.0
"""Image pixels. A box cut narrower than this is no longer an object."""
EVERYWHERE = np.array([-np.inf, -np.inf, np.inf, np.inf], np.float32)
"""The region of a photo: all of it, whatever part a view shows."""


@dataclass(frozen=True, eq=False)
class View:
    """What is shown of a photo, and the boxes in it: image pixels of this picture."""

    picture: Picture
    boxes: Boxes  # (N, 4) xyxy
    class_ids: NDArray[np.int64]  # (N,)
    roles: NDArray[np.int8]  # (N,) a Role each
    partial: tuple[PartialRegion, ...] = ()  # of a photo: one region EVERYWHERE, or none; of a mosaic: one for each partial tile


@dataclass(frozen=True)
class Window:
    """A part of the plane that a photo lies in, image pixels; what lies outside the photo is grey."""

    left: int
    top: int
    width: int
    height: int


def crop(view: View, window: Window, min_visible: float) -> View:
    """What the window shows. Boxes are cut at its border; those of which less than `min_visible` of the area is left are dropped."""
    height, width = view.picture.shape[:2]
    picture = np.full((window.height, window.width, 3), round(GREY), np.uint8)
    left, right = max(window.left, 0), min(window.left + window.width, width)
    top, bottom = max(window.top, 0), min(window.top + window.height, height)
    if left < right and top < bottom:
        shown = view.picture[top:bottom, left:right]
        picture[top - window.top : bottom - window.top, left - window.left : right - window.left] = shown
    return _cut(replace(view, picture=picture, boxes=view.boxes - np.array([window.left, window.top] * 2, np.float32)), min_visible)


def _cut(view: View, min_visible: float) -> View:
    """Boxes cut at the picture's border, without objects that are mostly outside, and without empty and reversed boxes."""
    height, width = view.picture.shape[:2]
    boxes = np.clip(view.boxes, 0, np.array([width, height, width, height], np.float32))
    whole = (boxes[:, 2:4] - boxes[:, 0:2] >= SMALLEST_SIDE).all(axis=1)
    kept = whole & ((box_area(boxes) >= min_visible * box_area(view.boxes)) | (view.roles != Role.OBJECT))
    return replace(view, boxes=boxes[kept], class_ids=view.class_ids[kept], roles=view.roles[kept])


def flip(view: View) -> View:
    """Mirrored left to right."""
    return _mirrored(view, axis=1)


def flip_vertical(view: View) -> View:
    """Mirrored top to bottom."""
    return _mirrored(view, axis=0)


def _mirrored(view: View, axis: int) -> View:
    first = 1 - axis  # rows are y, which comes second in a box
    boxes = view.boxes.copy()
    boxes[:, [first, first + 2]] = view.picture.shape[axis] - view.boxes[:, [first + 2, first]]
    return replace(view, picture=np.flip(view.picture, axis), boxes=boxes)


def scaled(view: View, width: int, height: int) -> View:
    """The whole picture at another size, each side by its own factor."""
    across, down = width / view.picture.shape[1], height / view.picture.shape[0]
    shown = np.empty((height, width, 3), np.float32)
    RESIZE["antialiased"](view.picture, shown)
    picture = np.rint(shown).astype(np.uint8)
    return replace(view, picture=picture, boxes=view.boxes * np.array([across, down, across, down], np.float32))


def mosaic(views: tuple[View, View, View, View], size: int, centre: tuple[int, int]) -> View:
    """Four pictures fill the quarters of a square that meet in `centre` (x, y): left top, right top, left bottom, right bottom."""
    x, y = centre
    picture = np.empty((size, size, 3), np.uint8)
    quarters = ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size))
    boxes, class_ids, partial = [], [], []
    for view, (left, top, right, bottom) in zip(views, quarters, strict=True):
        tile = scaled(view, right - left, bottom - top)
        picture[top:bottom, left:right] = tile.picture
        boxes.append(tile.boxes + np.array([left, top, left, top], np.float32))
        class_ids.append(tile.class_ids)
        partial += [replace(region, box=np.array([left, top, right, bottom], np.float32)) for region in view.partial]
    roles = np.concatenate([view.roles for view in views])
    return _cut(View(picture, np.concatenate(boxes), np.concatenate(class_ids), roles, tuple(partial)), 0.0)


def distort_colour(pixels: Pixels, *, hue: float, saturation: float, exposure: float) -> Pixels:
    """(S, S, 3) float32, 0..255 -> the same with hue turned by a share of the circle, saturation and value multiplied.

    In HSV, as Darknet does (src/image.c, distort_image); in 8 bits. (0, 1, 1) changes nothing.
    """
    if (hue, saturation, exposure) == (0.0, 1.0, 1.0):
        return pixels
    hsv = np.asarray(Image.fromarray(np.rint(pixels).astype(np.uint8)).convert("HSV"))
    levels = np.arange(256)
    tables = ((levels + round(hue * 256)) % 256, *(np.clip(levels * factor, 0, 255) for factor in (saturation, exposure)))
    changed = np.stack([np.rint(table).astype(np.uint8)[hsv[..., channel]] for channel, table in enumerate(tables)], axis=-1)
    return np.asarray(Image.fromarray(changed, "HSV").convert("RGB"), np.float32)


def random_window(rng: np.random.Generator, view: View, config: Config, shape: float = 1.0) -> Window:
    """A window of about the photo's size. shape: by how much wider than the photo's proportions it shall be."""
    height, width = view.picture.shape[:2]
    zoom, aspect = rng.uniform(-config.scale, config.scale), rng.uniform(-config.aspect, config.aspect)
    stretch = np.sqrt(shape) * np.exp(aspect / 2)
    shown_width = max(8, round(width * np.exp(zoom) * stretch))
    shown_height = max(8, round(height * np.exp(zoom) / stretch))
    moved = rng.uniform(-config.translate, config.translate, 2) * (width, height)
    left, top = (width - shown_width) / 2 + moved[0], (height - shown_height) / 2 + moved[1]
    return Window(round(left), round(top), shown_width, shown_height)


def random_view(rng: np.random.Generator, view: View, config: Config, shape: float = 1.0) -> View:
    """A random part of the photo, mirrored or not."""
    shown = crop(view, random_window(rng, view, config, shape), config.min_visible)
    shown = flip(shown) if rng.random() < config.flip else shown
    return flip_vertical(shown) if config.flip_vertical and rng.random() < config.flip_vertical else shown


def random_colour(rng: np.random.Generator, pixels: Pixels, config: Config) -> Pixels:
    """Colours distorted at random; factors are as often above 1 as below (Darknet src/utils.c, rand_scale)."""
    hue = rng.uniform(-config.hue, config.hue)
    logs = [rng.uniform(-np.log(limit), np.log(limit)) for limit in (config.saturation, config.exposure)]
    return distort_colour(pixels, hue=hue, saturation=float(np.exp(logs[0])), exposure=float(np.exp(logs[1])))
