"""Learning-rate schedules, warm-up, plateaus and early stopping."""

import numpy as np
import pytest

from training.config.options import Config
from training.optimization.early_stopping import TrainingState
from training.optimization.schedules import make_schedule

STEPS = 200


def rates(schedule, *steps, **settings):
    made = make_schedule(Config(**({"schedule": schedule, "learning_rate": 0.1, "warmup_steps": 0} | settings)), STEPS)
    return [made(step) for step in steps]


@pytest.mark.parametrize(
    ("schedule", "settings", "steps", "expected"),
    [
        ("constant", {}, (0, 199), (0.1, 0.1)),
        ("performance", {}, (0, 199), (0.1, 0.1)),
        ("piecewise", {"pieces": "0.5:0.1,0.75:0.01"}, (0, 99, 100, 149, 150, 199), (0.1, 0.1, 0.01, 0.01, 0.001, 0.001)),
        ("power", {"decay_share": 0.25}, (0, 50, 100, 150), (0.1, 0.05, 0.1 / 3, 0.025)),
        ("exponential", {"decay_share": 0.25}, (0, 50, 100), (0.1, 0.01, 0.001)),
        ("cosine", {}, (0, 100, 200), (0.1, 0.0505, 0.001)),
        ("one-cycle", {}, (0, 30, 60, 130, 200), (0.004, 0.052, 0.1, (0.1 + 1e-5) / 2, 1e-5)),
    ],
)
def test_each_schedule_gives_the_known_learning_rates(schedule, settings, steps, expected):
    np.testing.assert_allclose(rates(schedule, *steps, **settings), expected, rtol=1e-5)


def test_the_warm_up_rises_linearly_to_the_schedule():
    np.testing.assert_allclose(rates("constant", 0, 1, 2, 3, 4, warmup_steps=3), [0.025, 0.05, 0.075, 0.1, 0.1])


def test_the_warm_up_takes_at_most_a_tenth_of_a_run():
    short = make_schedule(Config(schedule="constant", learning_rate=0.1, warmup_steps=30), 40)
    np.testing.assert_allclose([short(step) for step in (0, 3, 4, 39)], [0.02, 0.08, 0.1, 0.1])


def test_a_plateau_lowers_the_learning_rate_after_each_patience_period():
    config, state = Config(schedule="performance", plateau_patience=2, plateau_factor=0.5, patience=5), TrainingState()
    factors = []
    for value in (0.5, 0.6, 0.6, 0.4, 0.5, 0.5, 0.7, 0.1):
        state.observe(value, config)
        factors.append(state.rate_factor)
    assert factors == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert (state.best, state.stale) == (0.7, 1)


def test_early_stopping_ends_a_run_after_validations_without_improvement():
    config, state = Config(patience=2), TrainingState()
    ended = []
    for value in (0.5, 0.4, 0.6, 0.6, 0.6):
        state.observe(value, config)
        ended.append(state.should_stop(config))
    assert ended == [False, False, False, False, True]


def test_of_equal_values_the_last_is_the_best():
    config, state = Config(), TrainingState()
    best_steps = []
    for state.step, value in enumerate((0.5, 0.8, 0.8, 0.6, 0.8, 0.7)):
        state.observe(value, config)
        best_steps.append(state.best_step)
    assert best_steps == [0, 1, 2, 2, 4, 4]
