"""Plots of an evaluation: precision-recall curves and confusion matrix."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.evaluate import Evaluation
from training.evaluation.voc_ap import ClassResult
from training.plotting import COLOURS, escape_label, save_png

MAX_CLASSES_PER_PLOT = len(COLOURS)  # With more classes, each class has its own plot.
PLOT_COLUMNS = 3
MAX_CURVE_POINTS = 400  # Longer curves are thinned out, because a data set may have a million detections.


def plot_evaluation(evaluation: Evaluation, folder: Path) -> tuple[Path, Path]:
    """Write precision_recall.png and confusion.png to an existing folder and return their paths. Raises OSError."""
    curves_path, confusion_path = folder / "precision_recall.png", folder / "confusion.png"
    for path, figure in ((curves_path, precision_recall_figure(evaluation)), (confusion_path, confusion_figure(evaluation))):
        save_png(figure, path)
    return curves_path, confusion_path


def precision_recall_figure(evaluation: Evaluation) -> Figure:
    """Draw precision over recall for each class with ground truth, at IoU 0.5."""
    classes = evaluation.classes
    if len(classes) <= MAX_CLASSES_PER_PLOT:
        figure = Figure(figsize=(5.5, 4), layout="constrained")
        axes = figure.add_subplot()
        for (label, result), colour in zip(classes.items(), COLOURS, strict=False):
            _curve(axes, result, colour, f"{escape_label(label)} {result.ap:.2f}")
        axes.set(xlabel="recall", ylabel="precision", title=f"AP50 {evaluation.ap50:.3f}")
        axes.legend(title="class, AP50", fontsize="small")
        return figure
    rows = ceil(len(classes) / PLOT_COLUMNS)
    figure = Figure(figsize=(6.4, 1.7 * rows), layout="constrained")
    grid = figure.subplots(rows, PLOT_COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes, (label, result) in zip(grid.flat, classes.items(), strict=False):
        _curve(axes, result, COLOURS[0], "")
        axes.set_title(f"{escape_label(label)} {result.ap:.2f}", fontsize=8)
    for axes in grid.flat[len(classes) :]:
        axes.set_visible(False)
    figure.supxlabel("recall", fontsize=8)
    figure.supylabel("precision", fontsize=8)
    return figure


def _curve(axes: Axes, result: ClassResult, colour: str, label: str) -> None:
    selected = np.unique(np.linspace(0, len(result.recall) - 1, MAX_CURVE_POINTS).astype(int)) if len(result.recall) else np.zeros(0, int)
    recall, precision = np.append(0, result.recall[selected]), np.append(1, result.precision[selected])
    axes.plot(recall, precision, color=colour, label=label)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)


def confusion_figure(evaluation: Evaluation) -> Figure:
    """Draw the confusion matrix as counts. The colour is the share of the row."""
    classes = [index for index, label in enumerate(evaluation.labels) if label in evaluation.classes] + [len(evaluation.labels)]
    counts = evaluation.confusion[np.ix_(classes, classes)]
    names = [(*evaluation.labels, "nothing")[index] for index in classes]
    side = 2.5 + 0.45 * len(evaluation.classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    _label_ticks(axes, names)
    axes.grid(visible=False)
    axes.set(xlabel="detection (score at least 0.25)", ylabel="ground truth", title="boxes")
    return figure


def _label_ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
