import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detector.boxes.geometry import box_area, box_cxcywh_to_xyxy, box_iou, box_xyxy_to_cxcywh

box_arrays = arrays(np.float32, st.tuples(st.integers(0, 6), st.just(4)), elements=st.floats(-1000, 1000, width=32))


@given(box_arrays)
def test_conversion_to_centre_and_size_is_reversible(boxes):
    np.testing.assert_allclose(box_cxcywh_to_xyxy(box_xyxy_to_cxcywh(boxes)), boxes, atol=1e-3)


def test_iou_of_known_boxes_is_correct():
    first = np.array([[0, 0, 2, 2], [5, 5, 5, 9]], np.float32)
    second = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [10, 10, 12, 12], [5, 5, 5, 9]], np.float32)
    np.testing.assert_allclose(box_iou(first, second), [[1 / 7, 1, 0, 0], [0, 0, 0, 0]])


def test_iou_with_an_empty_array_has_the_right_shape():
    empty, three = np.zeros((0, 4), np.float32), np.zeros((3, 4), np.float32)
    assert box_iou(empty, three).shape == (0, 3)
    assert box_iou(three, empty).shape == (3, 0)


def test_a_reversed_box_has_no_area():
    assert box_area(np.array([3, 3, 1, 9], np.float32)) == 0


@given(box_arrays, box_arrays)
def test_iou_is_symmetric_and_between_zero_and_one(first, second):
    iou = box_iou(first, second)
    assert np.all((iou >= 0) & (iou <= 1 + 1e-6))
    np.testing.assert_array_equal(iou, box_iou(second, first).T)
