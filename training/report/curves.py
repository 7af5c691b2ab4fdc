"""A run over its steps: loss and its terms, what the checks say, learning rate, gradient."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from training.datasets.plots import COLOURS
from training.run.record import RunRecord
from training.run.tensorboard import TERMS

MOST_POINTS = 150
"""Of a line; of more steps, each point is the mean of some."""
MOST_SIZES = 6
"""Changes of the input size that are marked; multi-scale training has too many."""

Line = tuple[NDArray[np.float64], NDArray[np.float64]]


def thinned(steps: Sequence[int], values: Sequence[float], most: int = MOST_POINTS) -> Line:
    """(N,) -> (M,) steps and means of neighbours, M at most `most`."""
    parts = min(len(steps), most)
    where, what = (np.array_split(np.asarray(each, np.float64), max(parts, 1)) for each in (steps, values))
    return np.array([part.mean() for part in where if len(part)]), np.array([part.mean() for part in what if len(part)])


def loss_figure(record: RunRecord) -> Figure:
    """The loss and each of its terms, on a logarithmic scale."""
    figure, axes = _axes("Loss and its terms", "loss (log)")
    _line(axes, record, "loss", color=COLOURS[0], linewidth=2)
    for term, colour in zip([term for term in TERMS if _is_there(record, term)], (*COLOURS[1:], "#c0504d", "#2aa198"), strict=False):
        _line(axes, record, term, color=colour, linewidth=1)
    _logarithmic(axes)
    _mark_sizes(axes, record)
    _mark_mosaic(axes, record)
    _legend(axes)
    return figure


def check_figure(record: RunRecord) -> Figure:
    """AP50 at the checks, the best one marked."""
    figure, axes = _axes("AP50 on the validation set", "AP50")
    _points(axes, record, "ap50", COLOURS[2])
    if record.best:
        best = (record.best["step"], record.best["ap50"])
        axes.plot(*best, "*", color=COLOURS[1], markersize=12)
        side = "right" if best[0] > record.rows[-1]["step"] / 2 else "left"
        axes.annotate("best.safetensors", best, xytext=(0, -14), textcoords="offset points", ha=side, fontsize=7)
    axes.set(xlim=(0, None), ylim=(0, 1.03))
    _mark_sizes(axes, record)
    return figure


def val_loss_figure(record: RunRecord) -> Figure:
    """The loss where it is learned and where it is only measured: when they part, the photos are learned by heart."""
    figure, axes = _axes("Loss in training and on the validation set", "loss (log)")
    _line(axes, record, "loss", color=COLOURS[0], linewidth=1.2, label="training, augmented")
    _points(axes, record, "val_loss", COLOURS[1], label="validation")
    _logarithmic(axes)
    _legend(axes)
    return figure


def rate_figure(record: RunRecord) -> Figure:
    """The learning rate of each step."""
    figure, axes = _axes("Learning rate", "learning rate")
    _line(axes, record, "learning_rate", color=COLOURS[3])
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _mark_unfreezing(axes, record)
    return figure


def gradient_figure(record: RunRecord) -> Figure:
    """The norm of all gradients before clipping, with what they are clipped at."""
    figure, axes = _axes("Gradient, before clipping", "norm (log)")
    _line(axes, record, "gradient", color=COLOURS[0])
    _logarithmic(axes)
    if record.config.clip == "global-norm":
        axes.axhline(record.config.clip_at, color=COLOURS[1], linestyle="--", linewidth=1, label="clipped above")
    _mark_unfreezing(axes, record)
    _legend(axes)
    return figure


def _axes(title: str, unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 3.1), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="step", ylabel=unit)
    return figure, axes


def _logarithmic(axes: Axes) -> None:
    """With plain numbers, some of them between the powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _is_there(record: RunRecord, term: str) -> bool:
    """Whether a term says anything: with one class, the classes' is always 0."""
    return any(row.get(term) for row in record.rows)


def _line(axes: Axes, record: RunRecord, name: str, **style: Any) -> None:
    rows = [row for row in record.rows if name in row]
    axes.plot(*thinned([row["step"] for row in rows], [row[name] for row in rows]), **{"label": name.replace("_", " ")} | style)


def _points(axes: Axes, record: RunRecord, name: str, colour: str, **style: Any) -> None:
    checks = record.checks
    axes.plot([row["step"] for row in checks], [row[name] for row in checks], "o-", color=colour, markersize=3.5, linewidth=1.2, **style)


def _mark_sizes(axes: Axes, record: RunRecord) -> None:
    """A line where the input size changes."""
    pairs = zip(record.rows, record.rows[1:], strict=False)
    changes = [(now["step"], now["size"]) for before, now in pairs if before["size"] != now["size"]]
    for step, size in changes if len(changes) <= MOST_SIZES else ():
        _mark(axes, step, f"{size} px")


def _mark_mosaic(axes: Axes, record: RunRecord) -> None:
    """A line where the mosaics end, which are harder than photos: the loss falls there."""
    config = record.config
    if record.steps and record.rows and config.mosaic and config.mosaic_until * record.steps < record.rows[-1]["step"]:
        _mark(axes, config.mosaic_until * record.steps, "no mosaics")


def _mark_unfreezing(axes: Axes, record: RunRecord) -> None:
    if record.unfrozen_at is not None and record.rows and record.unfrozen_at < record.rows[-1]["step"]:
        _mark(axes, record.unfrozen_at, "all layers")


def _mark(axes: Axes, step: float, words: str) -> None:
    axes.axvline(step, color=COLOURS[4], linestyle=":", linewidth=1)
    axes.annotate(words, (step, 1), xycoords=("data", "axes fraction"), xytext=(2, -2), textcoords="offset points", va="top", fontsize=7)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
