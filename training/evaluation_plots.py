"""An evaluation as pictures: precision over recall, and which class is taken for which."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluate import Evaluation


def plot_evaluation(evaluation: Evaluation, folder: Path) -> tuple[Path, Path]:
    """Write precision_recall.png and confusion.png into the folder, which is there."""
    curves, confusion = folder / "precision_recall.png", folder / "confusion.png"
    figure = Figure(figsize=(7, 5), layout="constrained")
    _curves(figure.add_subplot(), evaluation)
    figure.savefig(curves, dpi=120)
    side = 2.5 + 0.45 * len(evaluation.classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    _confusion(figure.add_subplot(), evaluation)
    figure.savefig(confusion, dpi=120)
    return curves, confusion


def _curves(axes: Axes, evaluation: Evaluation) -> None:
    for label, result in evaluation.classes.items():
        axes.plot(np.append(0, result.recall), np.append(1, result.precision), label=f"{label} {result.ap:.2f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01), title=f"AP50 {evaluation.ap50:.3f}")
    axes.grid(alpha=0.3)
    axes.legend(title="class, AP50", fontsize="small")


def _confusion(axes: Axes, evaluation: Evaluation) -> None:
    shown = [index for index, label in enumerate(evaluation.labels) if label in evaluation.classes] + [len(evaluation.labels)]
    counts = evaluation.confusion[np.ix_(shown, shown)]
    names = [(*evaluation.labels, "nothing")[index] for index in shown]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")
    _name_ticks(axes, names)
    axes.set(xlabel="found (score at least 0.25)", ylabel="there", title="boxes")


def _name_ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
