"""The contact sheet shows the training images, with boxes at the positions of the training targets."""

import numpy as np
import pytest

from detector.imaging.draw import class_colour
from training.config.options import Config
from training.data.batches import Batches, TrainingExample
from training.data.contact_sheet import GAP, MAX_SHEET_SIDE, MIN_TILE, contact_sheet, first_examples
from training.data.ground_truth import GroundTruth
from training.data.voc_reader import read_set


def example(side, *boxes, shade=128):
    """(box, class id), ... -> an example on a grey background."""
    corners, classes = ([each[part] for each in boxes] for part in range(2))
    pixels = np.full((side, side, 3), shade, np.float32)
    truth = GroundTruth(np.array(corners, np.float32).reshape(-1, 4), np.array(classes, np.int64), np.zeros(len(classes), np.int8))
    return TrainingExample(pixels, truth)


@pytest.fixture
def batches(rectangles, small_model):
    """48 images: half with 32 pixels, then with 64; about half of them mosaics."""
    config = Config.of({"epochs": 4, "batch_size": 4, "sizes": "32:0.5,64", "mosaic": 0.5})
    return Batches(read_set(rectangles, "train"), small_model.spec, config)


def test_the_sheet_has_the_images_of_the_first_batches(batches):
    examples = list(first_examples(batches, 6))
    pixels = np.concatenate([batches.batch(step)[0] for step in (0, 1)])
    np.testing.assert_array_equal(np.stack([each.pixels for each in examples]), pixels[:6])


def test_a_run_with_fewer_images_shows_all_of_them(batches):
    examples = list(first_examples(batches, 256))
    assert [len(each.pixels) for each in examples] == [32] * 24 + [64] * 24
    assert contact_sheet(examples, ("red", "blue")).shape == (7 * (MIN_TILE + GAP) + GAP, 7 * (MIN_TILE + GAP) + GAP, 3)


def test_boxes_are_drawn_at_the_positions_of_the_targets():
    left, right = example(64, ((8, 16, 24, 48), 0)), example(64, ((32, 8, 56, 24), 1), shade=90)
    sheet = contact_sheet([left, right], ("red", "blue")).astype(int)
    assert sheet.shape == (MIN_TILE + 2 * GAP, 2 * MIN_TILE + 3 * GAP, 3)
    scale = MIN_TILE / 64
    for position, drawn in enumerate((left, right)):
        offset = np.array([GAP + position * (MIN_TILE + GAP), GAP])
        x0, y0, x1, y1 = (drawn.truth.boxes[0].reshape(2, 2) * scale + offset).round().astype(int).ravel()
        colour = class_colour(position)
        for x, y in ((x0, (y0 + y1) // 2), (x1 - 1, (y0 + y1) // 2), ((x0 + x1) // 2, y1 - 1)):
            assert np.abs(sheet[y - 1 : y + 2, x - 1 : x + 2] - colour).sum(axis=2).min() == 0
        inside = sheet[(y0 + y1) // 2, (x0 + x1) // 2]
        assert np.ptp(inside) == 0
        assert inside[0] == drawn.pixels[0, 0, 0]


def test_images_of_different_sizes_and_without_boxes_fit_on_one_sheet():
    sheet = contact_sheet([example(600), example(32), example(500)], ())
    assert sheet.shape == (2 * (600 + GAP) + GAP, 2 * (600 + GAP) + GAP, 3)
    assert tuple(sheet[GAP + 10, GAP + 600 + GAP + 10]) == (255, 255, 255)  # margin around the smaller image


def test_a_sheet_has_a_maximum_size():
    sheet = contact_sheet([example(2048)] * 5, ())
    assert max(sheet.shape) <= MAX_SHEET_SIDE
    assert sheet.shape[1] > 0.9 * MAX_SHEET_SIDE
