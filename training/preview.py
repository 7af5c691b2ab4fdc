"""What training sees, on one sheet: augmented pictures with the boxes that are learned from them."""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import ceil, sqrt

import numpy as np
from PIL import Image

from detector.draw import draw_boxes
from detector.placement import Picture
from training.pipeline import Batches, Sight
from training.targets import Role

GAP = 8
"""Pixels between pictures."""
WIDEST = 4096
"""Pixels of a sheet's longer side; larger pictures are shrunk so that they fit."""
LEAST = 448
"""Pixels of a picture's side; smaller ones are enlarged, or labels would cover them."""
PAPER = (255, 255, 255)


def first_sights(batches: Batches, count: int) -> Iterator[Sight]:
    """The first `count` pictures of a run, or all where it has fewer. Raises what `Batches.batch` does."""
    return islice((sight for step in range(batches.steps) for sight in batches.sights(step)), count)


def contact_sheet(sights: Sequence[Sight], labels: Sequence[str]) -> Picture:
    """(H, W, 3): at least one picture, side by side in rows, their boxes drawn. Each is in the middle of its square."""
    columns = ceil(sqrt(len(sights)))
    rows = ceil(len(sights) / columns)
    most = (WIDEST - GAP) // columns - GAP
    tiles = [_tile(sight, labels, most) for sight in sights]
    side = max(len(tile) for tile in tiles)
    sheet = np.full((rows * (side + GAP) + GAP, columns * (side + GAP) + GAP, 3), PAPER, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        inset = GAP + (side - len(tile)) // 2
        top, left = row * (side + GAP) + inset, column * (side + GAP) + inset
        sheet[top : top + len(tile), left : left + len(tile)] = tile
    return sheet


def _tile(sight: Sight, labels: Sequence[str], most: int) -> Picture:
    """One picture with its boxes, at most `most` pixels a side."""
    image = Image.fromarray(np.rint(sight.pixels).astype(np.uint8))
    side = min(max(image.width, LEAST), most)
    shown = image.resize((side, side))
    learned = sight.truth.roles == Role.OBJECT
    boxes, class_ids = sight.truth.boxes[learned], sight.truth.class_ids[learned]
    return draw_boxes(np.asarray(shown), boxes * np.float32(side / image.width), class_ids, labels)
