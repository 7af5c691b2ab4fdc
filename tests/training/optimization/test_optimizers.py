"""Optimizer steps, clipping, weight decay and parameter groups, against manual calculations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.config.options import Config
from training.optimization.optimizers import GroupedOptimizer, ParameterGroup


def variable(name, value):
    """Return a variable that weight decay treats as a kernel."""
    with keras.name_scope(name):
        return keras.Variable(np.array([value], np.float32), name="kernel")


DEFAULTS = {"learning_rate": 0.1, "weight_decay": 0.0, "clip": "none", "momentum": 0.9}


def weights_after_steps(optimizer, gradients, weights=(1.0, -2.0), **settings):
    """Return the weights after one step per gradient."""
    variables = [variable(f"layer{index}", weight) for index, weight in enumerate(weights)]
    grouped_optimizer = GroupedOptimizer(
        Config(**(DEFAULTS | {"optimizer": optimizer} | settings)), [ParameterGroup([each]) for each in variables]
    )
    for gradient in gradients:
        grouped_optimizer.set_learning_rate(0.1)
        grouped_optimizer.apply([tf.constant([value], tf.float32) for value in gradient], variables)
    return np.array([float(each.numpy()[0]) for each in variables])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", (1 - 0.1 * (3 + 1), -2)),
        ("momentum", (1 - 0.3 - (0.9 * 0.3 + 0.1), -2)),
        ("nesterov", (1 - 0.3 * 1.9 - (0.9 * (0.9 * 0.3 + 0.1) + 0.1), -2)),
        ("adagrad", (1 - 0.1 * (3 / np.sqrt(9.1) + 1 / np.sqrt(10.1)), -2)),
        ("rmsprop", (1 - 0.1 * (3 / np.sqrt(0.9) + 1 / np.sqrt(0.81 + 0.1)), -2)),
        ("adam", (1 - 0.1 * (1 + ((0.27 + 0.1) / 0.19) / np.sqrt((0.008991 + 0.001) / 0.001999)), -2)),
        ("adamw", (1 - 0.1 * (1 + ((0.27 + 0.1) / 0.19) / np.sqrt((0.008991 + 0.001) / 0.001999)), -2)),
    ],
)
def test_two_steps_agree_with_a_manual_calculation(optimizer, expected):
    np.testing.assert_allclose(weights_after_steps(optimizer, [(3, 0), (1, 0)]), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [("none", (0.7, -2.4)), ("value", (0.8, -2.2)), ("norm", (0.8, -2.2)), ("global-norm", (1 - 0.12, -2 - 0.16))],
)
def test_gradients_are_clipped_by_value_norm_and_global_norm(clip, expected):
    np.testing.assert_allclose(weights_after_steps("sgd", [(3, 4)], clip=clip, clip_at=2.0), expected, rtol=1e-6)


def test_weight_decay_shrinks_weights_without_a_gradient():
    np.testing.assert_allclose(weights_after_steps("adamw", [(0, 0)], weight_decay=0.5), [0.95, -1.9], rtol=1e-6)


def step_lengths(grouped_optimizer, variables, count):
    """Return the change of the last variable in each of `count` steps with a constant gradient of 1."""
    values = []
    for _ in range(count):
        grouped_optimizer.set_learning_rate(0.1)
        grouped_optimizer.apply([tf.ones(1) for _ in variables], variables)
        values.append(float(variables[-1].numpy()[0]))
    return -np.diff([1.0, *values])


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_an_unfrozen_layer_takes_steps_of_the_learning_rate_from_its_first_step(optimizer):
    early, late = variable("early", 1.0), variable("late", 1.0)
    groups = [ParameterGroup([early]), ParameterGroup([late], starts_frozen=True)]
    grouped_optimizer = GroupedOptimizer(Config(**(DEFAULTS | {"optimizer": optimizer, "warmup_steps": 0})), groups)
    step_lengths(grouped_optimizer, [early], 200)
    np.testing.assert_allclose(step_lengths(grouped_optimizer, [early, late], 30), 0.1, rtol=1e-4)


def test_an_unfrozen_layer_has_its_own_warm_up():
    early, late = variable("early", 1.0), variable("late", 1.0)
    groups = [ParameterGroup([early]), ParameterGroup([late], starts_frozen=True)]
    grouped_optimizer = GroupedOptimizer(Config(**(DEFAULTS | {"optimizer": "adam", "warmup_steps": 3})), groups)
    step_lengths(grouped_optimizer, [early], 50)
    np.testing.assert_allclose(step_lengths(grouped_optimizer, [early, late], 5), [0.025, 0.05, 0.075, 0.1, 0.1], rtol=1e-4)


def test_parameter_groups_have_their_own_learning_rates_and_are_clipped_together():
    variables = [variable("first", 1.0), variable("second", 1.0)]
    groups = [ParameterGroup([variables[0]]), ParameterGroup([variables[1]], rate_factor=0.5)]
    grouped_optimizer = GroupedOptimizer(Config(**(DEFAULTS | {"optimizer": "sgd", "clip": "global-norm", "clip_at": 2.0})), groups)
    grouped_optimizer.set_learning_rate(0.1)
    grouped_optimizer.apply([tf.constant([3.0]), tf.constant([4.0])], variables)
    np.testing.assert_allclose([float(each.numpy()[0]) for each in variables], [1 - 0.12, 1 - 0.08], rtol=1e-6)
