"""Per-layer diagnostics of training: gradient-to-weight ratios, dead and saturated units, and warnings with advice."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from detector.network.keras_model import assign_arrays, build_untrained_keras
from detector.network.layers import Activation, Conv, Shortcut
from detector.network.spec import Model, ModelSpec
from training.run.trainer import StepResult

WINDOW = 50  # Number of recent steps. The median of their ratios is examined.
VANISHING, EXPLODING = 1e-7, 10.0
"""Limits of gradient norm / weight norm. A layer does not learn below the first, and diverges above the second."""
MAX_FLAT_SHARE = 0.5  # A larger share of dead or saturated channels in a layer causes a warning.
MIN_FLAT_INCREASE = 0.1
"""Minimum increase of that share since the start of training. A pretrained network already has harmless dead channels."""

_FLAT_REGIONS: dict[Activation, tuple[float | None, float | None]] = {
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "elu": (-0.99, None),
    "selu": (-1.74, None),
    "logistic": (0.01, 0.99),
    "tanh": (-0.99, 0.99),
}
"""The gradient of an activation is nearly zero at outputs up to the first value, and from the second value on. Leaky ReLU is never flat."""


@dataclass
class LayerMonitor:
    """Gradient-to-weight ratios of the most recent steps, by layer."""

    ratios: dict[str, deque[float]] = field(default_factory=dict)

    def observe(self, result: StepResult) -> None:
        """Record a step. Frozen layers are dropped; the others are in network order."""
        self.ratios = {layer: self.ratios.get(layer, deque(maxlen=WINDOW)) for layer in result.gradients}
        for layer, gradient in result.gradients.items():
            self.ratios[layer].append(gradient / max(result.weights[layer], 1e-30))

    def median_ratios(self) -> dict[str, float]:
        """Return the median ratio over the window, by layer."""
        return {layer: float(np.median(ratios)) for layer, ratios in self.ratios.items()}

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each layer that has a complete window and a ratio out of range."""
        for layer, ratio in self.median_ratios().items():
            if len(self.ratios[layer]) < WINDOW:
                continue
            if ratio == 0:
                advice = "Start again with a smaller --learning-rate or with --activation leaky."
                yield f"{layer} has had no gradient for {WINDOW} steps because all units of a later layer are dead. {advice}"
            elif ratio < VANISHING:
                advice = "Try a larger --learning-rate, batch norm or another --activation."
                yield f"{layer}'s gradient has been {ratio:.0e} of its weights for {WINDOW} steps: it vanishes. {advice}"
            elif ratio > EXPLODING:
                advice = "Try a smaller --learning-rate or --clip global-norm."
                yield f"{layer}'s gradient has been {ratio:.0f} times its weights for {WINDOW} steps: it explodes. {advice}"


@dataclass(frozen=True)
class DeadUnits:
    """Shares of a layer's channels that are in a flat region of their activation on every pixel of a batch, 0..1."""

    dead: float  # in the lower region
    saturated: float  # in the upper region


@dataclass(frozen=True, eq=False)
class ActivationProbe:
    """A network that also returns the outputs of its activations."""

    network: Any
    layers: Mapping[str, Activation]  # activation of each layer that has flat regions
    outputs: Any  # images -> activations by layer

    @classmethod
    def of(cls, spec: ModelSpec) -> "ActivationProbe":
        """Build a probe for models of this spec."""
        activated = [layer for layer in spec.network if isinstance(layer, Conv | Shortcut) and layer.activation in _FLAT_REGIONS]
        network = build_untrained_keras(spec)
        if not activated:
            return cls(network, {}, lambda *_, **__: {})
        tensors = {layer.name: network.get_layer(f"{layer.name}_{layer.activation}").output for layer in activated}
        return cls(network, {layer.name: layer.activation for layer in activated}, keras.Model(network.inputs[0], tensors))

    def dead_units(self, model: Model, images: NDArray[np.float32]) -> dict[str, DeadUnits]:
        """Return the shares of dead and saturated channels on images (N, S, S, 3) in 0..255, by layer."""
        assign_arrays(self.network, model)
        values = self.outputs(images, training=False)
        return {name: _dead_units(np.asarray(values[name]), *_FLAT_REGIONS[kind]) for name, kind in self.layers.items()}


def _dead_units(values: NDArray[np.float32], low: float | None, high: float | None) -> DeadUnits:
    """values: (N, H, W, C) activations."""
    dead = float(np.mean(values.max(axis=(0, 1, 2)) <= low)) if low is not None else 0.0
    saturated = float(np.mean(values.min(axis=(0, 1, 2)) >= high)) if high is not None else 0.0
    return DeadUnits(dead, saturated)


def dead_unit_warnings(now: Mapping[str, DeadUnits], before: Mapping[str, DeadUnits]) -> Iterator[str]:
    """Yield a sentence for each layer in which many channels have become dead or saturated during training."""
    for layer, units in now.items():
        for kind in ("dead", "saturated"):
            share, share_before = getattr(units, kind), getattr(before[layer], kind)
            if share > MAX_FLAT_SHARE and share > share_before + MIN_FLAT_INCREASE:
                advice = "Try a smaller --learning-rate or another --activation."
                yield f"{share:.0%} of {layer}'s channels are {kind}; before training {share_before:.0%} were. {advice}"
