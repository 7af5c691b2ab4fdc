"""Dense training targets: responsible cells and anchors."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.boxes.grid import decode
from detector.network.layers import Conv
from detector.network.spec import ModelSpec
from tests.training.ground_truths import ground_truth_of
from training.data.targets import dense_targets

LAYERS = (Conv("stem", 4, size=32, stride=32, padding=(0, 0)), Conv("linear", 14, size=1, normalize=False, activation="linear"))
SPEC = ModelSpec(("a", "b"), ((1.0, 1.5), (2.5, 2.0)), LAYERS, input_size=160)
sides = st.floats(1, 79, width=32)


@given(st.lists(st.tuples(sides, sides, sides, sides), max_size=6))
def test_decoding_the_targets_gives_the_boxes(distances):
    boxes = np.array([[80 - a, 80 - b, 80 + c, 80 + d] for a, b, c, d in distances], np.float32).reshape(-1, 4)
    targets = dense_targets(ground_truth_of(boxes, np.arange(len(boxes)) % 2), SPEC, max_boxes=8)
    responsible = targets["responsible"] > 0
    logits = np.concatenate([targets["logits"], np.zeros((5, 5, 2, 3), np.float32)], axis=-1)
    decoded = decode(logits, SPEC.anchors, SPEC.stride)[0].reshape(5, 5, 2, 4)
    np.testing.assert_allclose(decoded[responsible], targets["boxes"][responsible], atol=1e-2)
    assert responsible.sum() <= len(boxes)
    assert (responsible.sum() > 0) == (len(boxes) > 0)


def test_the_larger_of_two_boxes_in_one_cell_is_assigned_and_both_are_in_truth():
    small, large = [70, 66, 90, 94], [66, 62, 94, 98]
    for boxes, class_ids in (([small, large], [0, 1]), ([large, small], [1, 0])):
        targets = dense_targets(ground_truth_of(np.array(boxes, np.float32), np.array(class_ids)), SPEC, max_boxes=4)
        assert targets["responsible"].sum() == 1
        assert targets["class_ids"][targets["responsible"] > 0].tolist() == [1]
        np.testing.assert_array_equal(targets["truth"], [small, large, [0] * 4, [0] * 4])
        assert targets["truth_class_ids"].tolist() == [0, 1, -1, -1]


def test_without_boxes_no_cell_is_responsible():
    targets = dense_targets(ground_truth_of(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), SPEC, max_boxes=2)
    assert not any(target.any() for name, target in targets.items() if name not in ("labelled", "truth_class_ids"))
    assert targets["labelled"].all()


def test_further_anchors_with_a_similar_shape_are_responsible():
    box = np.array([[70, 60, 102, 108]], np.float32)  # 1 x 1.5 cells: exactly the first anchor; IoU 0.3 with the second
    for assign_iou, expected in ((1.0, [0]), (0.31, [0]), (0.29, [0, 1])):
        targets = dense_targets(ground_truth_of(box, np.array([1])), SPEC, max_boxes=2, assign_iou=assign_iou)
        rows, columns, anchors = np.nonzero(targets["responsible"])
        assert anchors.tolist() == expected
        assert set(rows) == set(columns) == {2}
        logits = np.concatenate([targets["logits"], np.zeros((5, 5, 2, 3), np.float32)], axis=-1)
        decoded = decode(logits, SPEC.anchors, SPEC.stride)[0].reshape(5, 5, 2, 4)
        np.testing.assert_allclose(decoded[rows, columns, anchors], np.repeat(box, len(expected), axis=0), atol=1e-2)
        assert (targets["class_ids"][rows, columns, anchors] == 1).all()


def test_the_best_anchor_of_a_box_is_never_assigned_to_another_box():
    boxes = np.array([[70, 60, 102, 108], [46, 52, 126, 116]], np.float32)  # one centre cell; the second box is the second anchor
    targets = dense_targets(ground_truth_of(boxes, np.array([0, 1])), SPEC, max_boxes=2, assign_iou=0.2)
    assert targets["class_ids"][2, 2].tolist() == [0, 1]
