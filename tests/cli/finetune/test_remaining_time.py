"""The estimate of the remaining time of a run."""

from cli.finetune.remaining_time import RemainingTime


def test_the_estimate_is_the_time_per_step_times_the_steps_left():
    remaining = RemainingTime(first_step=0, steps=200, now=100.0)
    assert remaining.describe(10, now=120.0) == "6:20 left"
    assert remaining.describe(200, now=500.0) == "0:00 left"


def test_a_resumed_run_counts_only_its_own_steps():
    remaining = RemainingTime(first_step=100, steps=200, now=0.0)
    assert remaining.describe(110, now=20.0) == "3:00 left"


def test_hours_are_shown_if_there_are_any():
    assert RemainingTime(first_step=0, steps=1001, now=0.0).describe(1, now=3.7) == "1:01:40 left"


def test_the_features_of_a_second_input_size_do_not_change_the_estimate():
    remaining = RemainingTime(first_step=0, steps=200, now=0.0)
    for start, end in ((0.0, 30.0), (230.0, 300.0)):
        remaining.pause(now=start)
        remaining.resume(now=end)
    assert remaining.describe(101, now=302.0) == "3:18 left"
