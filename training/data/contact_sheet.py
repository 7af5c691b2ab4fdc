"""A sheet of augmented training images with the boxes that the network learns."""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import ceil, sqrt

import numpy as np
from PIL import Image

from detector.boxes.placement import ImageArray
from detector.imaging.draw import draw_boxes
from training.data.batches import Batches, TrainingExample
from training.data.ground_truth import Role

GAP = 8  # Pixels between images.
MAX_SHEET_SIDE = 4096  # Pixels of the sheet's longer side. Images are reduced to fit.
MIN_TILE = 448  # Pixels. Smaller images are enlarged, because labels would cover them.
BACKGROUND = (255, 255, 255)


def first_examples(batches: Batches, count: int) -> Iterator[TrainingExample]:
    """Yield the first `count` network inputs of a run, or all if it has fewer. Raises what `Batches.batch` raises."""
    return islice((example for step in range(batches.steps) for example in batches.examples(step)), count)


def contact_sheet(examples: Sequence[TrainingExample], labels: Sequence[str]) -> ImageArray:
    """Return (H, W, 3): rows of images with their boxes, each centred in a square. At least one example is required."""
    columns = ceil(sqrt(len(examples)))
    rows = ceil(len(examples) / columns)
    max_side = (MAX_SHEET_SIDE - GAP) // columns - GAP
    tiles = [_tile(example, labels, max_side) for example in examples]
    side = max(len(tile) for tile in tiles)
    sheet = np.full((rows * (side + GAP) + GAP, columns * (side + GAP) + GAP, 3), BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        inset = GAP + (side - len(tile)) // 2
        top, left = row * (side + GAP) + inset, column * (side + GAP) + inset
        sheet[top : top + len(tile), left : left + len(tile)] = tile
    return sheet


def _tile(example: TrainingExample, labels: Sequence[str], max_side: int) -> ImageArray:
    """Return one image with its boxes, at most `max_side` pixels per side."""
    image = Image.fromarray(np.rint(example.pixels).astype(np.uint8))
    side = min(max(image.width, MIN_TILE), max_side)
    resized = image.resize((side, side))
    learned = example.truth.roles == Role.OBJECT
    boxes, class_ids = example.truth.boxes[learned], example.truth.class_ids[learned]
    return draw_boxes(np.asarray(resized), boxes * np.float32(side / image.width), class_ids, labels)
