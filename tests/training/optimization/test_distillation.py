import numpy as np
import pytest
import tensorflow as tf

from detector.boxes.geometry import box_iou
from tests.training.optimization.loss_inputs import SPEC, batch, boxes_of, random_logits
from training.optimization.distillation import MAX_OVERLAP, distillation_loss, outside_of_objects

CONFIDENT, UNSURE = 20.0, -20.0  # logits of objectness


def raw_output(objectness, classes=(2.0, -1.0), box=(0.1, -0.2, 0.3, 0.4)):
    return np.array([*box, objectness, *classes], np.float32).reshape(1, 1, 1, 1, -1)


def with_new_class(initial, logit=-30.0):
    return np.concatenate([initial, np.full((*initial.shape[:-1], 1), logit, np.float32)], axis=-1)


def loss(logits, initial):
    return float(distillation_loss(tf.constant(logits), initial.astype(np.float16).astype(np.float32)))


@pytest.mark.parametrize("objectness", [CONFIDENT, UNSURE, 0.0])
def test_the_loss_of_the_initial_logits_is_zero(objectness):
    initial = raw_output(objectness).astype(np.float16).astype(np.float32)
    assert loss(with_new_class(initial), initial) == pytest.approx(0, abs=1e-6)


def test_a_new_class_on_an_old_object_costs_the_logarithm_of_the_probability_ratio():
    initial = raw_output(CONFIDENT, classes=(5.0, 5.0))
    # three equal classes: each old one has 1/3 instead of 1/2
    assert loss(with_new_class(initial, logit=5.0), initial) == pytest.approx(np.log(3 / 2), rel=1e-3)


def test_a_moved_box_costs_half_the_squared_differences_of_its_logits():
    initial = raw_output(CONFIDENT, box=(0, 0, 0, 0))
    moved = raw_output(CONFIDENT, box=(1, 0, 0, 2))
    assert loss(with_new_class(moved), initial) == pytest.approx(2.5, rel=1e-3)


def test_objectness_costs_the_divergence_from_the_initial_probability():
    initial, logits = raw_output(0.0), raw_output(np.log(3))  # 1/2 and 3/4
    expected = -0.5 * np.log(3 / 4) - 0.5 * np.log(1 / 4) - np.log(2)
    assert loss(with_new_class(logits), initial) == pytest.approx(expected, rel=1e-3)


def test_boxes_and_classes_of_background_do_not_change_the_loss():
    initial, logits = raw_output(UNSURE), raw_output(UNSURE, classes=(-4.0, 6.0), box=(3, 3, 3, 3))
    assert loss(with_new_class(logits, logit=9.0), initial) == pytest.approx(0, abs=1e-5)


def test_only_predictions_outside_of_all_objects_are_compared():
    logits, targets = random_logits(), batch()
    where = outside_of_objects(logits, targets["truth"], SPEC).numpy()
    for image, boxes in enumerate(boxes_of(logits).numpy()):
        overlap = box_iou(boxes.reshape(-1, 4), targets["truth"][image].numpy()).max(axis=1)
        assert np.array_equal(where[image].reshape(-1) == 1, overlap <= MAX_OVERLAP)
    assert 0 < where.mean() < 1


def test_predictions_of_weight_0_do_not_change_the_loss():
    initial, logits = raw_output(CONFIDENT), with_new_class(raw_output(UNSURE))
    assert float(distillation_loss(tf.constant(logits), initial, np.zeros((1, 1, 1, 1), np.float32))) == 0
