"""Drawing detections: lines, labels, colours and the size of the drawing."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from detector.boxes.detections import Detections
from detector.imaging.draw import (
    BLACK,
    MAX_DRAWN_BOXES,
    WHITE,
    class_colour,
    contrast,
    draw_detections,
    draw_limited,
    drawn_size,
    text_colour_on,
)
from detector.imaging.image import DecodedImage, read_image

LABELS = ("dog", "cat", "a label that is rather longer than most")


def detections(*rows):
    """Build detections from rows of xmin, ymin, xmax, ymax, score, class id."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def changed_area(image, drawn):
    """Return the smallest area that contains every changed pixel: left, top, right, bottom."""
    rows, columns = np.nonzero((image != drawn).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def count(image, colour):
    return int((image == colour).all(axis=2).sum())


def test_without_detections_the_copy_equals_the_image():
    image = noise(120, 200)
    drawn = draw_detections(image, Detections.empty(), LABELS)
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize("step", [1, 2])  # with step 2 the image is not contiguous
def test_the_given_image_does_not_change(step):
    image = noise(240, 320)[::step, ::step]
    before = image.copy()
    drawn = draw_detections(image, detections((30, 40, 90, 100, 0.9, 0)), LABELS)
    np.testing.assert_array_equal(image, before)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()


def test_pixels_away_from_boxes_and_labels_do_not_change():
    image = noise(480, 640)
    drawn = draw_detections(image, detections((200, 150, 400, 300, 0.9, 0)), LABELS)
    left, top, right, bottom = changed_area(image, drawn)
    assert 190 <= left <= 200
    assert 110 <= top <= 130  # the label above the box
    assert 400 <= right <= 410
    assert 300 <= bottom <= 310
    np.testing.assert_array_equal(drawn[165:285, 215:385], image[165:285, 215:385])


def test_the_line_follows_the_border_of_the_box():
    drawn = draw_detections(np.full((480, 640, 3), 128, np.uint8), detections((200, 150, 400, 300, 0.9, 1)), LABELS)
    colour = class_colour(1)
    for x, y in ((200, 225), (399, 225), (300, 150), (300, 299)):
        assert tuple(drawn[y, x]) == colour
    assert {tuple(drawn[225, x]) for x in range(195, 206)} == {colour, text_colour_on(colour), (128, 128, 128)}


BORDERS = [(0, 0), (270, 0), (540, 0), (0, 190), (540, 190), (0, 380), (270, 380), (540, 380), (-80, -80), (620, 460)]


@pytest.mark.parametrize(("x", "y"), BORDERS)
@pytest.mark.parametrize("class_id", [0, 2])
def test_the_label_is_complete_at_every_image_border(x, y, class_id):
    def drawn(x, y):
        box = (x, y, x + 100, y + 100, 0.9, class_id)
        return draw_detections(np.full((480, 640, 3), 127, np.uint8), detections(box), LABELS) @ np.array([65536, 256, 1])

    middle = drawn(270, 190)
    rows = np.flatnonzero((middle != middle[0, 0]).any(axis=1))
    columns = np.flatnonzero(middle[rows[0]] != middle[0, 0])
    label = middle[rows[0] : 185, columns[0] : columns[-1] + 1]
    assert min(label.shape) > 12
    assert appears(label, drawn(x, y))


def appears(part, image):
    """Return whether `image` contains `part`."""
    starts = np.argwhere((sliding_window_view(image, part.shape[1], axis=1) == part[0]).all(axis=2))
    return any(np.array_equal(image[y : y + part.shape[0], x : x + part.shape[1]], part) for y, x in starts)


def test_the_best_score_is_drawn_on_top():
    image = np.full((480, 640, 3), 128, np.uint8)
    box = (200, 150, 400, 300)
    for rows in (((*box, 0.9, 0), (*box, 0.5, 1)), ((*box, 0.5, 1), (*box, 0.9, 0))):
        drawn = draw_detections(image, detections(*rows), LABELS)
        assert tuple(drawn[299, 300]) == class_colour(0)


def test_the_labels_of_equal_boxes_do_not_cover_each_other():
    image = np.full((480, 640, 3), 128, np.uint8)
    one = draw_detections(image, detections((200, 150, 400, 300, 0.9, 0)), LABELS)
    both = draw_detections(image, detections((200, 150, 400, 300, 0.9, 0), (200, 150, 400, 300, 0.5, 1)), LABELS)
    label = np.s_[110:145, 195:280]
    np.testing.assert_array_equal(both[label], one[label])
    assert count(both, class_colour(1)) > 300


@pytest.mark.parametrize("side", [200, 640, 2000])
def test_lines_and_text_grow_with_the_image(side):
    def extent(side):
        box = (side * 0.3, side * 0.3, side * 0.7, side * 0.7, 0.9, 0)
        drawn = draw_detections(np.full((side, side, 3), 128, np.uint8), detections(box), LABELS)
        column = (drawn[side // 2] != 128).any(axis=1)[: side // 2]
        rows = (drawn != 128).any(axis=(1, 2))
        return column.sum(), side * 0.3 - rows.argmax()

    line, label = extent(side)
    assert 0.004 <= line / side <= 0.02
    assert 0.03 <= label / side <= 0.12


@given(st.integers(0, 10_000))
def test_label_text_contrasts_with_its_background(class_id):
    colour = class_colour(class_id)
    assert contrast(text_colour_on(colour), colour) >= 4.5
    assert class_colour(class_id) == colour


def test_contrast_equals_the_wcag_formula():
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast(WHITE, WHITE) == 1
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.005)  # #777777 is just below the WCAG minimum of 4.5
    assert contrast(WHITE, (118, 118, 118)) == pytest.approx(4.54, abs=0.005)  # #767676 is just above it


def test_the_colours_of_classes_differ():
    colours = np.array([class_colour(class_id) for class_id in range(80)], float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.where(np.eye(80), np.inf, 0)
    assert distances.min() > 10
    assert distances[:20, :20].min() > 70


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("class_id", range(20))
def test_a_box_is_visible_on_black_and_on_white(level, class_id):
    labels = [str(number) for number in range(20)]
    drawn = draw_detections(np.full((480, 640, 3), level, np.uint8), detections((200, 150, 400, 300, 0.9, class_id)), labels)
    background = (level, level, level)
    assert max(contrast(tuple(drawn[225, x].tolist()), background) for x in range(195, 206)) >= 4.5


DEGENERATE_BOXES = detections(
    (0, 0, 0, 0, 0.9, 0),
    (3, 3, 3, 3, 0.8, 1),
    (5, 2, 5, 9, 0.7, 2),
    (-50, -60, -40, -30, 0.6, 0),
    (9000, 9000, 9100, 9100, 0.5, 1),
    (-100, -100, 9000, 9000, 0.4, 2),
    (8, 8, 2, 2, 0.3, 0),
)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3), (40, 30), (480, 640)])
def test_degenerate_boxes_are_drawn_on_images_of_any_size(size):
    image = noise(*size)
    drawn = draw_detections(image, DEGENERATE_BOXES, LABELS)
    assert drawn.shape == image.shape
    assert (drawn != image).any()


def test_reference_boxes_are_drawn_on_real_images(shared):
    labels = (shared / "weights" / "voc.names").read_text().split()
    for name, rows in json.loads((shared / "reference" / "darknet-yolo-lite-voc-bn.json").read_text()).items():
        rows_above_threshold = [
            (r["xmin"], r["ymin"], r["xmax"], r["ymax"], r["score"], labels.index(r["label"])) for r in rows if r["score"] >= 0.25
        ]
        image = read_image(next((shared / "photos").glob(f"{name}.*")).read_bytes())
        drawn = draw_detections(image, detections(*rows_above_threshold), labels)
        colours = {row[5] for row in rows_above_threshold}
        assert all(count(drawn, class_colour(class_id)) > 200 for class_id in colours)
        assert 0 < (drawn != image).any(axis=2).mean() < 0.25


@pytest.mark.parametrize(
    ("size", "expected"), [((400, 300), (400, 300)), ((800, 600), (400, 300)), ((120_001, 1), (120_000, 1)), ((1, 1), (1, 1))]
)
def test_the_drawn_size_keeps_proportions_and_the_limit(size, expected):
    assert drawn_size(*size, max_pixels=120_000) == expected


@given(st.integers(1, 65_535), st.integers(1, 65_535), st.integers(1, 20_000_000))
def test_the_drawn_size_never_exceeds_the_limit(width, height, max_pixels):
    drawn_width, drawn_height = drawn_size(width, height, max_pixels)
    assert 1 <= drawn_width <= width
    assert 1 <= drawn_height <= height
    assert drawn_width * drawn_height <= max_pixels


def test_an_image_within_the_limit_is_drawn_at_full_size():
    image, boxes = noise(240, 320), detections((30, 40, 90, 100, 0.9, 0))
    drawn = draw_limited(DecodedImage(Image.fromarray(image), 320, 240), boxes, LABELS)
    assert drawn.scale == 1
    np.testing.assert_array_equal(drawn.image, draw_detections(image, boxes, LABELS))


@pytest.mark.parametrize("decoded_size", [(1600, 1200), (800, 600), (400, 300)])
def test_a_large_image_is_drawn_at_reduced_size_with_boxes_in_place(decoded_size):
    decoded = DecodedImage(Image.new("RGB", decoded_size, (128, 128, 128)), 1600, 1200)
    drawn = draw_limited(decoded, detections((400, 400, 1200, 800, 0.9, 1)), LABELS, max_pixels=400 * 300)
    assert drawn.image.size == (400, 300)
    assert drawn.scale == 0.25
    for x, y in ((100, 150), (299, 150), (200, 199)):
        assert drawn.image.getpixel((x, y)) == class_colour(1)


def test_only_the_best_boxes_are_drawn():
    boxes = [(10 * number, 10, 10 * number + 9, 30, 1 - number / 1000, 0) for number in range(MAX_DRAWN_BOXES + 50)]
    decoded = DecodedImage(Image.new("RGB", (2500, 60)), 2500, 60)
    drawn, best = (draw_limited(decoded, detections(*rows), LABELS).image for rows in (boxes, boxes[:MAX_DRAWN_BOXES]))
    np.testing.assert_array_equal(drawn, best)
