"""Which learning rate? Raise it from step to step, and watch where the loss falls and where it climbs (Smith, arXiv 1506.01186)."""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.data.batches import Batches, stream
from training.errors import TrainingError
from training.run.trainer import Trainer

STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0
CLIMBED = 3.0
"""How many times what it was at the beginning the loss may be before the search ends."""


@dataclass(frozen=True)
class Search:
    """The learning rates tried, one a step, and after each the loss on the same few photos."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss was lowest: there it was about to climb."""
        return self.rates[int(np.argmin(self.losses))] / 10

    def write(self, folder: Path) -> tuple[Path, Path]:
        """learning_rates.csv and learning_rates.png in the folder, which is there."""
        table, plot = folder / "learning_rates.csv", folder / "learning_rates.png"
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("learning_rate", "loss"), *zip(self.rates, self.losses, strict=True)])
        figure = Figure(figsize=(7, 5), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses)
        axes.axvline(self.suggestion, linestyle="--", color="grey", label=f"suggested: {self.suggestion:.1e}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss on the same photos after the step")
        axes.legend()
        figure.savefig(plot, dpi=120)
        return table, plot


def find_learning_rate(trainer: Trainer, batches: Batches, advance: Callable[[], object] = lambda: None) -> Search:
    """Train for at most 100 steps with rising rates, which ruins the trainer. `advance` is called after each step.

    The loss of the batches themselves would tell more of the photos in them than of the rate, above all with a trained model.
    Raises TrainingError where the loss is no number from the first step on.
    """
    steps = min(STEPS, batches.steps)
    same = replace(batches, augmented=False).batch(0)
    first = trainer.loss_of(*same)
    rates: list[float] = []
    losses: list[float] = []
    for step, (images, targets) in enumerate(stream(batches, 0, steps)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1))
        trainer.step(images, targets, number=step, rate=rate)
        loss = trainer.loss_of(*same)
        advance()
        if not math.isfinite(loss) or loss > CLIMBED * first:
            break
        rates.append(rate)
        losses.append(loss)
    if not rates:
        raise TrainingError("the loss is no number in the very first step: look at the data with `boxwright data check`.")
    return Search(tuple(rates), tuple(losses))
