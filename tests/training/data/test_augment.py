"""Augmentation moves boxes like pixels. Each image has an object in its own colour, so that the tests can locate it."""

import numpy as np
import pytest

from training.config.options import Config
from training.data.augment import View, Window, crop, distort_colour, flip, flip_vertical, mosaic, random_view, resize
from training.data.ground_truth import Role

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def view(width=60, height=40, box=(10, 5, 30, 25), colour=COLOURS[0], class_id=0, role=Role.OBJECT):
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = colour
    return View(image, np.array([box], np.float32), np.array([class_id]), np.array([role], np.int8))


def colour_bounds(image, colour):
    """Return the box around all pixels of this colour."""
    rows, columns = np.nonzero((np.abs(image.astype(int) - colour) < 60).all(axis=-1))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_cropping_shifts_and_clips_boxes_like_pixels():
    part = crop(view(), Window(20, -10, 50, 30), 0.0)
    assert part.image.shape == (30, 50, 3)
    np.testing.assert_array_equal(part.boxes, [[0, 15, 10, 30]])
    assert colour_bounds(part.image, COLOURS[0]) == part.boxes[0].tolist()
    assert (part.image[:10] == 128).all()  # above the image


def test_a_window_outside_of_the_image_is_grey_without_boxes():
    part = crop(view(), Window(100, 100, 8, 9), 0.0)
    assert (part.image == 128).all()
    assert part.boxes.shape == (0, 4)
    assert part.class_ids.shape == (0,)


@pytest.mark.parametrize(("min_visible", "kept"), [(0.4, 1), (0.6, 0)])
def test_a_box_with_too_small_a_visible_part_is_dropped(min_visible, kept):
    assert len(crop(view(), Window(20, 0, 40, 40), min_visible).boxes) == kept  # half of the box is visible


def test_empty_and_reversed_boxes_are_dropped():
    boxes = np.array([[10, 10, 10, 20], [30, 20, 10, 30], [1, 1, 9, 9]], np.float32)
    bad = View(np.zeros((40, 60, 3), np.uint8), boxes, np.array([0, 1, 2]), np.zeros(3, np.int8))
    assert crop(bad, Window(0, 0, 60, 40), 0.0).class_ids.tolist() == [2]


@pytest.mark.parametrize(("mirror", "expected"), [(flip, [30, 5, 50, 25]), (flip_vertical, [10, 15, 30, 35])])
def test_mirroring_moves_boxes_like_pixels_and_twice_restores_them(mirror, expected):
    once = mirror(view())
    np.testing.assert_array_equal(once.boxes, [expected])
    assert colour_bounds(once.image, COLOURS[0]) == once.boxes[0].tolist()
    twice = mirror(once)
    np.testing.assert_array_equal(twice.image, view().image)
    np.testing.assert_array_equal(twice.boxes, view().boxes)


def test_resizing_scales_boxes_like_pixels():
    larger = resize(view(), 120, 160)
    np.testing.assert_array_equal(larger.boxes, [[20, 20, 60, 100]])
    np.testing.assert_allclose(colour_bounds(larger.image, COLOURS[0]), larger.boxes[0], atol=2)


def test_the_four_images_of_a_mosaic_meet_at_its_centre():
    views = tuple(view(colour=colour, class_id=index) for index, colour in enumerate(COLOURS))
    made = mosaic(views, 100, (40, 70))
    assert made.class_ids.tolist() == [0, 1, 2, 3]
    for box, colour in zip(made.boxes, COLOURS, strict=True):
        np.testing.assert_allclose(colour_bounds(made.image, colour), box, atol=2)
    assert (made.boxes[0, 2:4] <= (40, 70)).all()
    assert (made.boxes[3, 0:2] >= (40, 70)).all()


def test_random_views_keep_boxes_on_their_objects():
    config, rng = Config(), np.random.default_rng(3)
    for _ in range(50):
        part = random_view(rng, view(300, 200, (50, 25, 150, 125)), config)
        for box in part.boxes:
            np.testing.assert_allclose(colour_bounds(part.image, COLOURS[0]), box, atol=1.01)


def test_neutral_colour_changes_leave_pixels_unchanged():
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 6, 3)).astype(np.float32)
    assert distort_colour(pixels, hue=0.0, saturation=1.0, exposure=1.0) is pixels


def test_known_colours_change_to_known_colours():
    red = np.full((1, 1, 3), (200, 0, 0), np.float32)
    np.testing.assert_allclose(distort_colour(red, hue=1 / 3, saturation=1.0, exposure=1.0)[0, 0], (0, 200, 0), atol=4)
    np.testing.assert_allclose(distort_colour(red, hue=0.0, saturation=0.5, exposure=1.0)[0, 0], (200, 100, 100), atol=3)
    np.testing.assert_allclose(distort_colour(red, hue=0.0, saturation=1.0, exposure=0.5)[0, 0], (100, 0, 0), atol=2)
    np.testing.assert_allclose(distort_colour(red, hue=0.0, saturation=1.0, exposure=2.0)[0, 0], (255, 0, 0), atol=2)
