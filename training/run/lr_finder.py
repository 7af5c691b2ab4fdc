"""Learning-rate range test: raise the learning rate from step to step and record the loss (Smith, arXiv 1506.01186)."""

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.data.batches import Batches
from training.data.tf_dataset import stream_batches
from training.errors import TrainingError
from training.plotting import save_png
from training.run.trainer import Trainer

MAX_TEST_STEPS = 100
MIN_RATE, MAX_RATE = 1e-6, 1.0
MAX_LOSS_RATIO = 3.0  # The test ends when the loss exceeds the initial loss by this factor.


@dataclass(frozen=True)
class LearningRateTest:
    """The learning rates of the steps, and the loss after each step on the same batch."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate with the lowest loss, because the loss begins to rise at that rate."""
        return self.rates[int(np.argmin(self.losses))] / 10

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write learning_rates.csv and learning_rates.png to an existing folder and return their paths."""
        table, plot = folder / "learning_rates.csv", folder / "learning_rates.png"
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("learning_rate", "loss"), *zip(self.rates, self.losses, strict=True)])
        figure = Figure(figsize=(7, 5), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses)
        axes.axvline(self.suggestion, linestyle="--", color="grey", label=f"suggested: {self.suggestion:.1e}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss of one fixed batch after the step")
        axes.legend()
        save_png(figure, plot)
        return table, plot


def find_learning_rate(trainer: Trainer, batches: Batches) -> LearningRateTest:
    """Train for at most 100 steps with rising learning rates. The trainer's weights are useless afterwards.

    The loss is measured on one fixed batch. The loss of training batches depends more on their images than on the rate, in particular
    for a trained model. Raises TrainingError if the first step makes the loss NaN, infinite, or more than
    MAX_LOSS_RATIO times as high.
    """
    steps = min(MAX_TEST_STEPS, batches.steps)
    fixed_batch = replace(batches, augmented=False).batch(0)
    initial_loss = trainer.loss_on_batch(*fixed_batch)
    rates: list[float] = []
    losses: list[float] = []
    for step, (images, targets) in enumerate(stream_batches(batches, 0, steps)):
        rate = MIN_RATE * (MAX_RATE / MIN_RATE) ** (step / max(1, steps - 1))
        trainer.step(images, targets, number=step, learning_rate=rate)
        loss = trainer.loss_on_batch(*fixed_batch)
        if not math.isfinite(loss) or loss > MAX_LOSS_RATIO * initial_loss:
            break
        rates.append(rate)
        losses.append(loss)
    if not rates:
        raise TrainingError(
            f"after the first step the loss is NaN, infinite, or more than {MAX_LOSS_RATIO:g} times as high as before. "
            "Check the data with 'boxwright data check'."
        )
    return LearningRateTest(tuple(rates), tuple(losses))
