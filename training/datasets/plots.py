"""Plots of a data set: boxes per class, and box sizes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.datasets.check import DatasetCheck
from training.plotting import COLOURS, MAX_LABEL_LENGTH, escape_label, save_png

MAX_BARS = 60
MAX_SCATTER_POINTS = 20_000  # Boxes in the scatter plot, sampled evenly. More boxes do not change the plot visibly.


def write_plots(check: DatasetCheck, folder: Path) -> tuple[Path, ...]:
    """Write classes.png (boxes per label and set) and boxes.png (widths and heights). Creates the folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {image_set: check.boxes_by_label(image_set) for image_set in check.sets}
    sizes = {image_set: _relative_sizes(check, image_set) for image_set in check.sets}
    return save_png(_histogram(counts), folder / "classes.png"), save_png(_box_sizes(sizes), folder / "boxes.png")


def _relative_sizes(check: DatasetCheck, image_set: str) -> NDArray[np.float64]:
    """Return widths and heights (N, 2) of the set's boxes, in percent of the image."""
    sizes = [(each.boxes[each.usable, 2:] - each.boxes[each.usable, :2]) / np.array(each.size) * 100 for each in check.samples(image_set)]
    return np.concatenate([np.zeros((0, 2)), *sizes])


def _histogram(counts: Mapping[str, Counter[str]]) -> Figure:
    total = sum(counts.values(), Counter[str]())
    labels = [label for label, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))][:MAX_BARS]
    figure = Figure(figsize=(8, 1.2 + 0.32 * max(len(labels), 2)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(labels))
    for (image_set, each), colour in zip(counts.items(), _colours(counts), strict=True):
        widths = np.array([each[label] for label in labels], np.float64)
        axes.barh(range(len(labels)), widths, left=left, color=colour, label=escape_label(image_set))
        left += widths
    for row, end in enumerate(left):
        axes.annotate(f" {end:,.0f}", (end, row), va="center", fontsize=8)
    axes.set_yticks(range(len(labels)), [label[:MAX_LABEL_LENGTH] for label in labels])
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    omitted = len(total) - len(labels)
    title = f"Boxes per class{f' (the {MAX_BARS} most frequent; {omitted} more)' if omitted else ''}"
    _style(axes, "lower right", {"xlabel": "boxes", "title": title})
    return figure


def _box_sizes(sizes: Mapping[str, NDArray[np.float64]]) -> Figure:
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axes = figure.add_subplot()
    for (image_set, points), colour in zip(sizes.items(), _colours(sizes), strict=True):
        selected = points[:: max(1, -(-len(points) // MAX_SCATTER_POINTS))]
        axes.scatter(selected[:, 0], selected[:, 1], s=9, alpha=0.4, linewidths=0, color=colour, label=escape_label(image_set))
    axes.set(xlim=(0, 102), ylim=(0, 102), aspect="equal")
    axes.grid(alpha=0.3)
    names = {"xlabel": "width, % of the image", "ylabel": "height, % of the image", "title": "Box sizes"}
    _style(axes, "upper left", names)
    return figure


def _colours(sets: Mapping[str, object]) -> Sequence[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(sets))]


def _style(axes: Any, legend_position: str, labels: dict[str, str]) -> None:
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(frameon=False, loc=legend_position, markerscale=3)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
