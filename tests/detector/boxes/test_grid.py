import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.boxes.geometry import box_cxcywh_to_xyxy
from detector.boxes.grid import decode, encode, logit, sigmoid, softmax

ANCHORS = ((1.0, 2.0), (4.0, 3.0))
GRID, STRIDE = 7, 32


def test_zero_logits_give_the_anchor_centred_in_its_cell():
    boxes, scores = decode(np.zeros((2, 3, 2, 8), np.float32), ANCHORS, 10)
    row, column, anchor = 1, 2, 1
    box = boxes.reshape(2, 3, 2, 4)[row, column, anchor]
    np.testing.assert_allclose(box, [25 - 20, 15 - 15, 25 + 20, 15 + 15])
    np.testing.assert_allclose(scores, 0.5 / 3)


def test_scores_are_objectness_times_class():
    logits = np.zeros((1, 1, 1, 7), np.float32)
    logits[..., 4:] = [np.log(3), np.log(4), 0]
    _, scores = decode(logits, ((1, 1),), 32)
    np.testing.assert_allclose(scores, [[0.75 * 0.8, 0.75 * 0.2]], rtol=1e-6)


def test_the_grid_size_is_taken_from_the_logits():
    boxes, scores = decode(np.zeros((3, 5, 2, 9), np.float32), ANCHORS, 32)
    assert boxes.shape == (30, 4)
    assert scores.shape == (30, 4)
    assert boxes.dtype == scores.dtype == np.float32


def test_extreme_logits_give_finite_boxes():
    for value in (-1e4, 1e4):
        boxes, scores = decode(np.full((1, 1, 1, 7), value, np.float32), ((1, 1),), 32)
        assert np.isfinite(boxes).all()
        assert np.isfinite(scores).all()


side = st.floats(1, 300)
inside = st.floats(0.01, GRID * STRIDE - 0.01)


@given(st.lists(st.tuples(inside, inside, side, side), min_size=1, max_size=5))
def test_decode_is_the_inverse_of_encode(cxcywh):
    boxes = box_cxcywh_to_xyxy(np.array(cxcywh, np.float32))
    encoded = encode(boxes, ANCHORS, grid=GRID, stride=STRIDE)
    for box, row, column, anchor, xywh in zip(boxes, encoded.rows, encoded.columns, encoded.anchors, encoded.logits, strict=True):
        logits = np.zeros((GRID, GRID, 2, 6), np.float32)
        logits[row, column, anchor, :4] = xywh
        decoded = decode(logits, ANCHORS, STRIDE)[0].reshape(GRID, GRID, 2, 4)[row, column, anchor]
        np.testing.assert_allclose(decoded, box, atol=0.02)


def test_a_box_is_assigned_to_the_anchor_of_its_shape_and_the_cell_of_its_centre():
    tall, wide = [100, 40, 130, 100], [0, 0, 130, 100]
    encoded = encode(np.array([tall, wide], np.float32), ANCHORS, grid=GRID, stride=STRIDE)
    assert encoded.anchors.tolist() == [0, 1]
    assert encoded.columns.tolist() == [3, 2]
    assert encoded.rows.tolist() == [2, 1]


def test_a_centre_on_the_far_border_belongs_to_the_last_cell():
    edge = GRID * STRIDE
    encoded = encode(np.array([[edge - 10, edge - 10, edge + 10, edge + 10]], np.float32), ANCHORS, grid=GRID, stride=STRIDE)
    assert (encoded.rows[0], encoded.columns[0]) == (GRID - 1, GRID - 1)
    assert np.isfinite(encoded.logits).all()


def test_encoding_no_boxes_gives_empty_arrays():
    encoded = encode(np.zeros((0, 4), np.float32), ANCHORS, grid=GRID, stride=STRIDE)
    assert encoded.logits.shape == (0, 4)


@given(st.floats(-12, 12, width=32))
def test_logit_is_the_inverse_of_sigmoid(x):
    assert logit(sigmoid(np.float32(x))) == pytest.approx(x, abs=0.15)
    assert sigmoid(np.float64(x)) == pytest.approx(1 / (1 + np.exp(-np.float64(x))), rel=1e-9)


def test_softmax_ignores_a_large_common_addend():
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_allclose(softmax(x + 1000), softmax(x), rtol=1e-5)


@pytest.mark.parametrize("above", [0.0, 0.25, 0.9, 1.0])
def test_skipping_boxes_of_low_objectness_does_not_change_the_others(above):
    logits = np.random.default_rng(5).normal(0, 3, (6, 7, 2, 9)).astype(np.float32)
    boxes, scores = decode(logits, ANCHORS, STRIDE)
    selected = sigmoid(logits[..., 4]).ravel() > above
    some_boxes, some_scores = decode(logits, ANCHORS, STRIDE, above=above)
    assert (scores[~selected] <= above).all()
    np.testing.assert_array_equal(some_boxes, boxes[selected])
    np.testing.assert_array_equal(some_scores, scores[selected])
