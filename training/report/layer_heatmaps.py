"""Heat maps over layers and steps: gradient-to-weight ratios, and shares of dead or saturated channels."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.run.layer_monitor import EXPLODING, VANISHING
from training.run.metrics_log import StepMetrics

MIN_COLOUR_RANGE = (1e-5, 1.0)  # Gradient-to-weight ratios that the colour scale always includes.
MIN_SHARE = 0.01  # No heat map is drawn if all shares are below this.


def ratio_figure(validations: Sequence[StepMetrics]) -> Figure:
    """Draw gradient-to-weight ratios: one row per layer in network order, one column per validation. Frozen layers are empty."""
    layers, values = _matrix([metrics["layers"]["gradient_to_weight"] for metrics in validations])
    positive = values[np.isfinite(values) & (values > 0)]
    limits = min([*positive, MIN_COLOUR_RANGE[0]]), max([*positive, MIN_COLOUR_RANGE[1]])
    low, high = (np.clip(limit, VANISHING, EXPLODING) for limit in limits)
    return _heatmap(validations, layers, values, LogNorm(low, high, clip=True), "gradient / weights")


def has_dead_units(validations: Sequence[StepMetrics], kind: str) -> bool:
    """Return whether a layer has at least MIN_SHARE of channels of this kind ("dead" or "saturated")."""
    return any(shares[kind] >= MIN_SHARE for metrics in validations for shares in metrics["layers"]["flat"].values())


def dead_units_figure(validations: Sequence[StepMetrics], kind: str) -> Figure:
    """Draw the share of each layer's channels that is "dead" or "saturated"."""
    layers, values = _matrix([{layer: shares[kind] for layer, shares in metrics["layers"]["flat"].items()} for metrics in validations])
    return _heatmap(validations, layers, values, Normalize(0, 1), f"share of channels that are {kind}")


def _matrix(columns: Sequence[Mapping[str, float]]) -> tuple[list[str], NDArray[np.float64]]:
    """Return layer names in network order, and values (layers, validations), NaN where a layer was not measured."""
    longest = max(columns, key=len, default={})
    layers = [*longest, *(layer for layer in dict.fromkeys(each for column in columns for each in column) if layer not in longest)]
    return layers, np.array([[column.get(layer, np.nan) for column in columns] for layer in layers]).reshape(len(layers), len(columns))


def _heatmap(validations: Sequence[StepMetrics], layers: list[str], values: NDArray[np.float64], scale: Normalize, label: str) -> Figure:
    figure = Figure(figsize=(6.4, 1.1 + 0.135 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    steps = [0, *(metrics["step"] for metrics in validations)]  # a column ends at the step of its validation
    mesh = axes.pcolormesh(steps, np.arange(len(layers) + 1), np.ma.masked_invalid(values), norm=scale, cmap="viridis", rasterized=True)
    axes.set_yticks(np.arange(len(layers)) + 0.5, layers, fontsize=6.5, parse_math=False)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set(xlabel="step", xlim=(0, steps[-1]))
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", location="top", aspect=50, pad=0.01)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure
