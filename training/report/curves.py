"""Curves over the steps of a run: loss, AP50, learning rate and gradient norm."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from training.plotting import COLOURS
from training.run.metrics_log import LOSS_TERMS
from training.run.record import RunRecord

MAX_POINTS_PER_CURVE = 150  # Points of a curve. Longer runs are averaged over groups of steps.
MAX_SIZE_CHANGES = 6  # Changes of the input size that are marked. Multi-scale training changes the size too often to mark.

ROW_POINTS = 8  # Height of a row of texts at the top of a plot.


def downsample(steps: Sequence[int], values: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average steps and values (N,) over groups of neighbours, so that at most MAX_POINTS_PER_CURVE points remain."""
    groups = min(len(steps), MAX_POINTS_PER_CURVE)
    step_groups, value_groups = (np.array_split(np.asarray(each, np.float64), max(groups, 1)) for each in (steps, values))
    return np.array([group.mean() for group in step_groups if len(group)]), np.array([group.mean() for group in value_groups if len(group)])


def loss_figure(record: RunRecord) -> Figure:
    """Draw the loss and each of its terms on a logarithmic scale."""
    figure, axes = _new_axes("Loss and its terms", "loss (log)")
    _line(axes, record, "loss", color=COLOURS[0], linewidth=2)
    terms = [term for term in LOSS_TERMS if any(metrics.get(term) for metrics in record.metrics)]
    for term, colour in zip(terms, (*COLOURS[1:], "#c0504d", "#2aa198"), strict=False):
        _line(axes, record, term, color=colour, linewidth=1)
    _logarithmic(axes)
    _mark_size_changes(axes, record)
    _mark_last_mosaic(axes, record)
    _legend(axes)
    return figure


def ap_figure(record: RunRecord) -> Figure:
    """Draw AP50 at each validation and mark the best one."""
    figure, axes = _new_axes("AP50 on the validation set", "AP50")
    _validation_points(axes, record, "ap50", COLOURS[2])
    if record.best:
        best = (record.best["step"], record.best["ap50"])
        axes.plot(*best, "*", color=COLOURS[1], markersize=12)
        alignment = "right" if best[0] > record.metrics[-1]["step"] / 2 else "left"
        axes.annotate("best.safetensors", best, xytext=(0, -14), textcoords="offset points", ha=alignment, fontsize=7)
    axes.set(xlim=(0, None), ylim=(0, 1.03))
    _mark_size_changes(axes, record)
    return figure


def val_loss_figure(record: RunRecord) -> Figure:
    """Draw training and validation loss. A growing distance between them indicates overfitting."""
    figure, axes = _new_axes("Training loss and validation loss", "loss (log)")
    _line(axes, record, "loss", color=COLOURS[0], linewidth=1.2, label="training, augmented")
    _validation_points(axes, record, "val_loss", COLOURS[1], label="validation")
    _logarithmic(axes)
    _legend(axes)
    return figure


def learning_rate_figure(record: RunRecord) -> Figure:
    """Draw the learning rate of each step."""
    figure, axes = _new_axes("Learning rate", "learning rate")
    _line(axes, record, "learning_rate", color=COLOURS[3])
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _mark_unfreezing(axes, record)
    return figure


def gradient_figure(record: RunRecord) -> Figure:
    """Draw the norm of all gradients before clipping, and the clipping threshold."""
    figure, axes = _new_axes("Gradient norm before clipping", "norm (log)")
    _line(axes, record, "gradient", color=COLOURS[0])
    _logarithmic(axes)
    if record.config.clip == "global-norm":
        axes.axhline(record.config.clip_at, color=COLOURS[1], linestyle="--", linewidth=1, label="clipping threshold")
    _mark_unfreezing(axes, record)
    _legend(axes)
    return figure


def _new_axes(title: str, unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 3.1), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="step", ylabel=unit)
    return figure, axes


def _logarithmic(axes: Axes) -> None:
    """Use a logarithmic scale with plain numbers, including 2 and 5 times the powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _line(axes: Axes, record: RunRecord, key: str, **style: Any) -> None:
    points = [(metrics["step"], metrics[key]) for metrics in record.metrics if key in metrics]
    curve = downsample([step for step, _ in points], [value for _, value in points])
    axes.plot(*curve, **{"label": key.replace("_", " ")} | style)


def _validation_points(axes: Axes, record: RunRecord, key: str, colour: str, **style: Any) -> None:
    steps, values = [each["step"] for each in record.validations], [each[key] for each in record.validations]
    axes.plot(steps, values, "o-", color=colour, markersize=3.5, linewidth=1.2, **style)


def _mark_size_changes(axes: Axes, record: RunRecord) -> None:
    pairs = zip(record.metrics, record.metrics[1:], strict=False)
    changes = [(after["step"], after["size"]) for before, after in pairs if before["size"] != after["size"]]
    for row, (step, size) in enumerate(changes if len(changes) <= MAX_SIZE_CHANGES else ()):
        _mark(axes, step, f"{size} px", row=row)


def _mark_last_mosaic(axes: Axes, record: RunRecord) -> None:
    """Mark the end of the mosaics. They are harder than single images, so the loss falls there."""
    config = record.config
    if record.steps and record.metrics and config.mosaic and config.mosaic_until * record.steps < record.metrics[-1]["step"]:
        _mark(axes, config.mosaic_until * record.steps, "no mosaics", row=MAX_SIZE_CHANGES)


def _mark_unfreezing(axes: Axes, record: RunRecord) -> None:
    if record.unfreezing_step is not None and record.metrics and record.unfreezing_step < record.metrics[-1]["step"]:
        _mark(axes, record.unfreezing_step, "all layers trained")


def _mark(axes: Axes, step: float, text: str, *, row: int = 0) -> None:
    """Draw a vertical line with a text. Use different rows for lines that are close together."""
    axes.axvline(step, color=COLOURS[4], linestyle=":", linewidth=1)
    axes.annotate(
        text,
        (step, 1),
        xycoords=("data", "axes fraction"),
        xytext=(2, -2 - ROW_POINTS * row),
        textcoords="offset points",
        va="top",
        fontsize=7,
    )


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
