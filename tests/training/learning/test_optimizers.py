import keras
import numpy as np
import pytest

from training.config import Config
from training.optimization.optimizers import make_optimizer

PLAIN = {"learning_rate": 0.1, "weight_decay": 0.0, "clip": "none", "momentum": 0.9}


def moved(optimizer, gradients, weights=(1.0, -2.0), **settings):
    """The weights after a step for each gradient."""
    made = make_optimizer(Config(**(PLAIN | {"optimizer": optimizer} | settings)))
    variables = [keras.Variable(np.array([weight], np.float32)) for weight in weights]
    for gradient in gradients:
        made.apply([np.array([part], np.float32) for part in gradient], variables)
    return np.array([float(variable.numpy()[0]) for variable in variables])


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
def test_two_steps_worked_out_by_hand(optimizer, expected):
    np.testing.assert_allclose(moved(optimizer, [(3, 0), (1, 0)]), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [("none", (0.7, -2.4)), ("value", (0.8, -2.2)), ("norm", (0.8, -2.2)), ("global-norm", (1 - 0.12, -2 - 0.16))],
)
def test_gradients_are_clipped_by_value_by_norm_and_by_the_norm_of_all(clip, expected):
    np.testing.assert_allclose(moved("sgd", [(3, 4)], clip=clip, clip_at=2.0), expected, rtol=1e-6)


def test_weight_decay_shrinks_weights_without_a_gradient():
    np.testing.assert_allclose(moved("adamw", [(0, 0)], weight_decay=0.5), [0.95, -1.9], rtol=1e-6)
