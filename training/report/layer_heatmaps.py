"""Every layer over the run as a row of a heat map: how large its gradient is against its weights, how much of it is dead or saturated."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.run.folder import Row
from training.run.layer_monitor import EXPLODING, VANISHING

SHOWN = (1e-5, 1.0)
"""Gradients as a share of the weights: the map's colours span at least these."""
LEAST_SHARE = 0.01
"""Of a layer's channels: of less there is no map."""


def ratio_figure(checks: Sequence[Row]) -> Figure:
    """Layers from input to output, checks from left to right: gradient as a share of the weights. Empty where a layer is frozen."""
    layers, values = _table([row["layers"]["gradient_to_weight"] for row in checks])
    known = values[np.isfinite(values) & (values > 0)]
    low, high = (np.clip(edge, VANISHING, EXPLODING) for edge in (min([*known, SHOWN[0]]), max([*known, SHOWN[1]])))
    return _map(checks, layers, values, LogNorm(low, high, clip=True), "gradient / weights")


def is_any(checks: Sequence[Row], kind: str) -> bool:
    """Whether `flat_figure` has something to show: no layer may have an activation that can be flat, or hardly a channel of them is."""
    return any(shares[kind] >= LEAST_SHARE for row in checks for shares in row["layers"]["flat"].values())


def flat_figure(checks: Sequence[Row], kind: str) -> Figure:
    """The share of each layer's channels that is `kind`: dead or saturated."""
    layers, values = _table([{layer: shares[kind] for layer, shares in row["layers"]["flat"].items()} for row in checks])
    return _map(checks, layers, values, Normalize(0, 1), f"share of channels that are {kind}")


def _table(columns: Sequence[Mapping[str, float]]) -> tuple[list[str], NDArray[np.float64]]:
    """Layers in the network's order, and (layers, checks) values, nan where a layer was not looked at."""
    fullest = max(columns, key=len, default={})
    layers = [*fullest, *(layer for layer in dict.fromkeys(each for column in columns for each in column) if layer not in fullest)]
    return layers, np.array([[column.get(layer, np.nan) for column in columns] for layer in layers]).reshape(len(layers), len(columns))


def _map(checks: Sequence[Row], layers: list[str], values: NDArray[np.float64], scale: Normalize, words: str) -> Figure:
    figure = Figure(figsize=(6.4, 1.1 + 0.135 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    steps = [0, *(row["step"] for row in checks)]  # a check looks back; its column ends where it was made
    shown = axes.pcolormesh(steps, np.arange(len(layers) + 1), np.ma.masked_invalid(values), norm=scale, cmap="viridis", rasterized=True)
    axes.set_yticks(np.arange(len(layers)) + 0.5, layers, fontsize=6.5, parse_math=False)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set(xlabel="step", xlim=(0, steps[-1]))
    bar = figure.colorbar(shown, ax=axes, orientation="horizontal", location="top", aspect=50, pad=0.01)
    bar.set_label(words)
    bar.outline.set_visible(False)
    return figure
