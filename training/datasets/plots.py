"""What a data set is made of, as two PNG files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import MissingExtra
from training.datasets.check import Check
from weights.atomic_files import atomic_write

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtra("plots need matplotlib, which is not installed: pip install 'boxwright[train]'.") from error

COLOURS = ("#3b6fb6", "#e08a1e", "#4f9d69", "#a05195", "#8a8a8a")
MAX_BARS = 60
MAX_LETTERS = 40
MAX_POINTS = 20_000
"""Of these many boxes, evenly picked, the cloud already has its shape."""


def write_plots(check: Check, folder: Path) -> tuple[Path, ...]:
    """classes.png (boxes of each label, by set) and boxes.png (their widths and heights), in `folder`, which is made. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {image_set: check.boxes_by_label(image_set) for image_set in check.sets}
    sides = {image_set: _sides(check, image_set) for image_set in check.sets}
    return _save(_histogram(counts), folder / "classes.png"), _save(_box_sizes(sides), folder / "boxes.png")


def _sides(check: Check, image_set: str) -> NDArray[np.float64]:
    """(N, 2) widths and heights of a set's boxes, as percentages of their photo's."""
    found = [(seen.boxes[seen.kept, 2:] - seen.boxes[seen.kept, :2]) / np.array(seen.size) * 100 for seen in check.seen(image_set)]
    return np.concatenate([np.zeros((0, 2)), *found])


def _histogram(counts: Mapping[str, Counter[str]]) -> Figure:
    total = sum(counts.values(), Counter[str]())
    labels = [label for label, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))][:MAX_BARS]
    figure = Figure(figsize=(8, 1.2 + 0.32 * max(len(labels), 2)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(labels))
    for (image_set, each), colour in zip(counts.items(), _colours(counts), strict=True):
        widths = np.array([each[label] for label in labels], np.float64)
        axes.barh(range(len(labels)), widths, left=left, color=colour, label=plain(image_set))
        left += widths
    for place, end in enumerate(left):
        axes.annotate(f" {end:,.0f}", (end, place), va="center", fontsize=8)
    axes.set_yticks(range(len(labels)), [label[:MAX_LETTERS] for label in labels])
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    left_out = len(total) - len(labels)
    title = f"Boxes of each class{f' (the {MAX_BARS} commonest; {left_out} more)' if left_out else ''}"
    _finish(axes, "lower right", {"xlabel": "boxes", "title": title})
    return figure


def _box_sizes(sides: Mapping[str, NDArray[np.float64]]) -> Figure:
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axes = figure.add_subplot()
    for (image_set, points), colour in zip(sides.items(), _colours(sides), strict=True):
        chosen = points[:: max(1, -(-len(points) // MAX_POINTS))]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=9, alpha=0.4, linewidths=0, color=colour, label=plain(image_set))
    axes.set(xlim=(0, 102), ylim=(0, 102), aspect="equal")
    axes.grid(alpha=0.3)
    names = {"xlabel": "width, % of the photo's", "ylabel": "height, % of the photo's", "title": "Sizes of boxes"}
    _finish(axes, "upper left", names)
    return figure


def _colours(sets: Mapping[str, object]) -> Sequence[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(sets))]


def plain(name: str) -> str:
    """matplotlib leaves names that begin with _ out of a legend, and sets those between $ as formulas."""
    return f" {name[:MAX_LETTERS]}".replace("$", r"\$")


def _finish(axes: Any, corner: str, labels: dict[str, str]) -> None:
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(frameon=False, loc=corner, markerscale=3)
    for handle in legend.legend_handles:
        handle.set_alpha(1)


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return path
