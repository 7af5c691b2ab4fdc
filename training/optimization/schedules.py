"""Learning-rate schedules: functions from step to learning rate. Most are Keras's own."""

from collections.abc import Callable
from math import cos, pi
from typing import Any

from keras.optimizers.schedules import CosineDecay, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay

from training.config.options import Config

Schedule = Callable[[int], float]

MAX_WARMUP = 1 / 10  # Largest share of a run that the warm-up takes.


def make_schedule(config: Config, steps: int) -> Schedule:
    """Return the schedule of the config, including its warm-up, for a run of `steps` steps.

    "performance" is constant here; `training.optimization.early_stopping` lowers it when validations stop improving.
    """
    main = _SCHEDULES[config.schedule](config, steps)
    warmup = min(config.warmup_steps, round(MAX_WARMUP * steps))

    def rate(step: int) -> float:
        factor = (step + 1) / (warmup + 1) if step < warmup else 1.0
        return factor * float(main(step))

    return rate


def _piecewise(config: Config, steps: int) -> Any:
    """Multiply the learning rate by a factor from each given fraction of the run."""
    pieces = config.rate_pieces()
    boundaries = [round(fraction * steps) - 1 for fraction, _ in pieces]  # Keras changes the rate after the boundary
    return PiecewiseConstantDecay(boundaries, [config.learning_rate, *(config.learning_rate * factor for _, factor in pieces)])


def _one_cycle(config: Config, steps: int) -> Schedule:
    """Raise the rate from 1/25 of its maximum in 30 % of the run, then lower it to 1/10,000, along cosines.

    Source: Smith & Topin, arXiv 1708.07120.
    """
    top, first, last = config.learning_rate, config.learning_rate / 25, config.learning_rate / 10_000
    peak = 0.3 * steps

    def rate(step: int) -> float:
        if step < peak:
            return _cosine_interpolation(first, top, step / peak)
        return _cosine_interpolation(top, last, min(1.0, (step - peak) / (steps - peak)))

    return rate


def _cosine_interpolation(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + cos(pi * fraction)) / 2


_SCHEDULES: dict[str, Callable[[Config, int], Any]] = {
    "constant": lambda config, _: lambda _: config.learning_rate,
    "performance": lambda config, _: lambda _: config.learning_rate,
    "piecewise": _piecewise,
    # with n = decay_share * steps: divide the learning rate by 1 + step / n, so by 2 after n steps and by 3 after 2n
    "power": lambda config, steps: InverseTimeDecay(config.learning_rate, config.decay_share * steps, decay_rate=1.0),
    # with n = decay_share * steps: divide it by 10^(step / n), so by 10 after n steps
    "exponential": lambda config, steps: ExponentialDecay(config.learning_rate, config.decay_share * steps, decay_rate=0.1),
    # lower it to a hundredth along half a cosine
    "cosine": lambda config, steps: CosineDecay(config.learning_rate, steps, alpha=0.01),
    "one-cycle": _one_cycle,
}
