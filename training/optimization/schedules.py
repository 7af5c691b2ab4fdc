"""How the learning rate goes over a run: step -> rate. Keras's schedules where it has them."""

from collections.abc import Callable
from math import cos, pi
from typing import Any

import keras

from training.config import Config

Schedule = Callable[[int], float]


def make_schedule(config: Config, steps: int) -> Schedule:
    """The schedule that the config names, for a run of `steps` steps, with its warm-up.

    performance: constant here; `training.optimization.early_stopping` cuts it when checks stop to get better.
    """
    main = _SCHEDULES[config.schedule](config, steps)
    warm = min(config.warmup_steps, steps)

    def rate(step: int) -> float:
        rising = (step + 1) / (warm + 1) if step < warm else 1.0
        return rising * float(main(step))

    return rate


def _piecewise(config: Config, steps: int) -> Any:
    """From each share of the run on, the learning rate times its factor."""
    pieces = config.rate_pieces()
    boundaries = [round(share * steps) - 1 for share, _ in pieces]  # Keras changes after the boundary
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        boundaries, [config.learning_rate, *(config.learning_rate * factor for _, factor in pieces)]
    )


def _power(config: Config, steps: int) -> Any:
    """eta0 / (1 + t / r): half after r steps, a third after 2 r."""
    return keras.optimizers.schedules.InverseTimeDecay(config.learning_rate, config.decay_share * steps, decay_rate=1.0)


def _exponential(config: Config, steps: int) -> Any:
    """eta0 * 10^(-t / r): a tenth after r steps."""
    return keras.optimizers.schedules.ExponentialDecay(config.learning_rate, config.decay_share * steps, decay_rate=0.1)


def _cosine(config: Config, steps: int) -> Any:
    """Half a cosine from eta0 to a hundredth of it."""
    return keras.optimizers.schedules.CosineDecay(config.learning_rate, steps, alpha=0.01)


def _one_cycle(config: Config, steps: int) -> Schedule:
    """A twenty-fifth of eta0, up to eta0 in 30 % of the run, down to a ten-thousandth, by cosines (Smith & Topin, arXiv 1708.07120)."""
    top, first, last = config.learning_rate, config.learning_rate / 25, config.learning_rate / 10_000
    peak = 0.3 * steps

    def rate(step: int) -> float:
        if step < peak:
            return _between(first, top, step / peak)
        return _between(top, last, min(1.0, (step - peak) / (steps - peak)))

    return rate


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * share)) / 2


_SCHEDULES: dict[str, Callable[[Config, int], Any]] = {
    "constant": lambda config, _: lambda _: config.learning_rate,
    "performance": lambda config, _: lambda _: config.learning_rate,
    "piecewise": _piecewise,
    "power": _power,
    "exponential": _exponential,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}
