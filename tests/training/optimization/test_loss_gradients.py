"""The gradient of every loss term agrees with finite differences in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.optimization.loss_inputs import BOXES, SPEC, batch, boxes_of, random_logits
from training.config.options import Config
from training.optimization import loss as terms
from training.optimization.loss import Loss

STEP = 1e-6


def slope(function, logits, position):
    """Return the central difference of a scalar function with respect to one value of `logits`."""
    shift = np.zeros(logits.shape)
    shift[position] = STEP
    return float(function(logits + shift) - function(logits - shift)) / (2 * STEP)


def check_gradient(function, logits, by_differences=None):
    """Compare gradients with finite differences at the few cells that the term depends on."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = function(logits)
    gradient = tape.gradient(value, logits)
    assert np.isfinite(gradient.numpy()).all()
    assert np.abs(gradient).max() > 1e-3
    strongest = np.argsort(-np.abs(gradient.numpy()), axis=None)
    others = np.random.default_rng(1).choice(strongest.size, 6, replace=False)
    for position in [*strongest[:12], *others]:
        index = np.unravel_index(position, logits.shape)
        np.testing.assert_allclose(gradient[index], slope(by_differences or function, logits, index), rtol=1e-5, atol=1e-8)


TERMS = {
    "coordinates_squared": lambda logits, t: terms.coordinates_squared(logits, t, SPEC.stride),
    "pull_to_anchors": lambda logits, t: terms.anchor_prior(logits, 1 - t["responsible"]),
    "objectness_squared": lambda logits, t: terms.objectness_squared(logits, 0.8 * t["responsible"], t["responsible"]),
    "no_objectness_squared": lambda logits, t: terms.objectness_squared(logits, 0 * t["responsible"], 1 - t["responsible"]),
    "objectness_cross_entropy": lambda logits, t: terms.objectness_cross_entropy(logits, 0.8 * t["responsible"], t["responsible"]),
    "class_cross_entropy": terms.class_cross_entropy,
}


@pytest.mark.parametrize("name", TERMS)
def test_gradients_of_the_terms_agree_with_finite_differences(name):
    targets = batch()
    check_gradient(lambda logits: TERMS[name](logits, targets), random_logits())


def test_the_gradient_of_ciou_treats_the_trade_off_as_constant():
    targets, logits = batch(), random_logits(2)
    responsible = targets["responsible"]
    fixed = [terms.trade_off(*terms.ciou_parts(boxes_of(logits), terms.responsible_boxes(targets))[::2])]

    def with_constant_trade_off(shifted):
        iou, distance, shape = terms.ciou_parts(boxes_of(shifted), terms.responsible_boxes(targets))
        return tf.reduce_sum(responsible * (1 - (iou - distance - fixed[0] * shape)))

    check_gradient(lambda shifted: terms.box_ciou(boxes_of(shifted), targets), logits, with_constant_trade_off)


@pytest.mark.parametrize("loss_name", ["darknet", "modern"])
def test_the_gradient_is_finite_for_extreme_logits(loss_name):
    targets = batch([(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), BOXES[1]])
    for scale in (1, 30, 1e4):
        logits = random_logits(3) * scale
        with tf.GradientTape() as tape:
            tape.watch(logits)
            values = Loss(SPEC, Config(loss=loss_name))(logits, targets, 0)
            total = tf.add_n(list(values.values()))
        assert np.isfinite(total.numpy())
        assert np.isfinite(tape.gradient(total, logits).numpy()).all()
