import numpy as np
import pytest

from detector.boxes.detections import Detections

TWO = Detections(np.array([[-5, 1, 20, 9], [2, 2, 3, 3]], np.float32), np.array([0.9, 0.4], np.float32), np.array([1, 0]))


@pytest.mark.parametrize("shapes", [((2, 4), (3,), (2,)), ((2, 4), (2,), (1,)), ((2, 5), (2,), (2,)), ((4,), (4,), (4,))])
def test_arrays_of_different_lengths_are_refused(shapes):
    boxes, scores, class_ids = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match="Detections needs boxes"):
        Detections(boxes, scores, class_ids.astype(np.int64))


def test_empty_detections_can_be_moved_and_clipped():
    assert len(Detections.empty().moved(lambda boxes: boxes + 1).clipped(3, 3)) == 0
    assert list(Detections.empty()) == []


def test_boxes_are_clipped_to_a_wide_image():
    np.testing.assert_array_equal(TWO.clipped(10, 5).boxes, [[0, 1, 10, 5], [2, 2, 3, 3]])


def test_a_slice_selects_boxes_scores_and_classes():
    (only,) = TWO[1:]
    assert only.box == (2, 2, 3, 3)
    assert only.score == pytest.approx(0.4)
    assert only.class_id == 0
