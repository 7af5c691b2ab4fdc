"""Is every layer learning? Gradients against weights, dead and saturated units, and a sentence where something is wrong."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from detector.keras_model import assign_arrays, build_untrained_keras
from detector.network import Activation, Conv, Shortcut
from detector.spec import Model, ModelSpec
from training.run.trainer import StepReport

WINDOW = 50
"""Steps that are looked at together."""
VANISHING, EXPLODING = 1e-7, 10.0
"""A kernel's gradient, as a share of its weights, below or above which a layer does not learn or falls apart."""
TOO_MANY_DEAD = 0.5
"""Share of a layer's channels."""
MORE_DEAD = 0.1
"""Share of a layer's channels by which it must have grown: a trained network brings dead channels along, and they do no harm."""

_BOUNDS: dict[Activation, tuple[float | None, float | None]] = {
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "elu": (-0.99, None),
    "selu": (-1.74, None),
    "logistic": (0.01, 0.99),
    "tanh": (-0.99, 0.99),
}
"""Where an activation is flat: at or below the first, at or above the second. A leaky one is flat nowhere."""


@dataclass
class Watcher:
    """The last steps' gradients and weights, by layer."""

    ratios: dict[str, deque[float]] = field(default_factory=dict)

    def observe(self, report: StepReport) -> None:
        """Note a step."""
        # in the network's order, without what is frozen now
        self.ratios = {layer: self.ratios.get(layer, deque(maxlen=WINDOW)) for layer in report.gradients}
        for layer, gradient in report.gradients.items():
            self.ratios[layer].append(gradient / max(report.weights[layer], 1e-30))

    def medians(self) -> dict[str, float]:
        """Gradient as a share of the weights: the median of the last steps, by layer."""
        return {layer: float(np.median(ratios)) for layer, ratios in self.ratios.items()}

    def sentences(self) -> Iterator[str]:
        """What is wrong with which layer; nothing before a whole window has been seen."""
        for layer, ratio in self.medians().items():
            if len(self.ratios[layer]) < WINDOW:
                continue
            if ratio == 0:
                cure = "a smaller --learning-rate or --activation leaky, from the beginning, may help"
                yield f"{layer} has had no gradient at all for {WINDOW} steps: what lies above passes none on, being dead; {cure}."
            elif ratio < VANISHING:
                cure = "a larger --learning-rate, batch norm or another --activation may help"
                yield f"{layer}'s gradient has been {ratio:.0e} of its weights for {WINDOW} steps: it is not learning; {cure}."
            elif ratio > EXPLODING:
                cure = "a smaller --learning-rate or --clip global-norm may help"
                yield f"{layer}'s gradient has been {ratio:.0f} times its weights for {WINDOW} steps: it explodes; {cure}."


@dataclass(frozen=True)
class Flat:
    """Shares of a layer's channels, 0..1."""

    dead: float  # at the lower end of their activation wherever one looks
    saturated: float  # at its upper end


@dataclass(frozen=True, eq=False)
class Probe:
    """A network that also says what its activations are."""

    network: Any
    layers: Mapping[str, Activation]  # that can be flat
    outputs: Any  # images -> activations by layer

    @classmethod
    def of(cls, spec: ModelSpec) -> "Probe":
        """For models of that spec."""
        activated = [layer for layer in spec.network if isinstance(layer, Conv | Shortcut) and layer.activation in _BOUNDS]
        network = build_untrained_keras(spec)
        if not activated:
            return cls(network, {}, lambda *_, **__: {})
        tensors = {layer.name: network.get_layer(f"{layer.name}_{layer.activation}").output for layer in activated}
        return cls(network, {layer.name: layer.activation for layer in activated}, keras.Model(network.inputs[0], tensors))

    def flat(self, model: Model, images: NDArray[np.float32]) -> dict[str, Flat]:
        """Images (N, S, S, 3), 0..255 -> how many channels are flat on all of them, by layer."""
        assign_arrays(self.network, model)
        values = self.outputs(images, training=False)
        return {name: _flat(np.asarray(values[name]), *_BOUNDS[kind]) for name, kind in self.layers.items()}


def _flat(values: NDArray[np.float32], low: float | None, high: float | None) -> Flat:
    """(N, H, W, C) activations and where they are flat."""
    dead = float(np.mean(values.max(axis=(0, 1, 2)) <= low)) if low is not None else 0.0
    saturated = float(np.mean(values.min(axis=(0, 1, 2)) >= high)) if high is not None else 0.0
    return Flat(dead, saturated)


def flat_sentences(flat: Mapping[str, Flat], before: Mapping[str, Flat]) -> Iterator[str]:
    """A sentence for each layer of which too many channels are flat, and more than `before` training."""
    for layer, share in flat.items():
        for word in ("dead", "saturated"):
            now, then = getattr(share, word), getattr(before[layer], word)
            if now > TOO_MANY_DEAD and now > then + MORE_DEAD:
                cure = "a smaller --learning-rate or another --activation may help"
                yield f"{now:.0%} of {layer}'s channels are {word}, {then:.0%} were before training: {cure}."
