"""A float32 model -> one whose convolutions are computed in 8 bits, as far as that does no harm."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.engines.onnxruntime import OnnxEngine
from detector.network import Conv
from detector.placement import Pixels
from detector.quantization import Quantization, kernel_steps
from detector.spec import Model
from weights.calibration import calibrate

ENOUGH_DECIBELS = 25.0
"""Logits' power over that of what 8 bits add to them. `everyday` has 28 and loses 0.1 AP points; no layer of it need be left out."""
JUDGES = 16  # photos on which outputs are compared


@dataclass(frozen=True)
class Quantized:
    """A quantised model, and what was measured on the way."""

    model: Model
    decibels: float  # logits' power over that of their error, on photos of the calibration
    left: tuple[str, ...]  # convolutions left in float32, the most harmful first


def quantize(
    model: Model, photos: Sequence[Pixels], *, enough: float = ENOUGH_DECIBELS, advance: Callable[[], object] = lambda: None
) -> Quantized:
    """Calibrate on `photos`, (S, S, 3) float32, 0..255; then leave out layers, the most harmful first, until the error is small `enough`.

    How harmful a layer is, is measured: it alone is computed in 8 bits. Raises SettingError without photos.
    """
    ranges = calibrate(model, photos, advance=advance)
    judge = _Judge.of(model, photos[:JUDGES])
    convolutions = [layer.name for layer in model.spec.network if isinstance(layer, Conv)]

    def tried(layers: Collection[str]) -> tuple[Model, float]:
        quantised = rounded(replace(model, quantization=Quantization(tuple(layers), ranges)))
        return quantised, judge.decibels(quantised)

    result, decibels = tried(convolutions)
    left: list[str] = []
    if decibels < enough:
        alone = {name: tried([name])[1] for name in convolutions}
        harmful = sorted(convolutions, key=alone.__getitem__)
        while decibels < enough and len(left) < len(harmful):
            left.append(harmful[len(left)])
            result, decibels = tried([name for name in convolutions if name not in left])
    return Quantized(result, decibels, tuple(left))


def rounded(model: Model) -> Model:
    """The same model with the kernels of its quantised layers on their grids, as its file will have them."""
    arrays = dict(model.arrays)
    for name in model.quantization.layers if model.quantization else ():
        steps, step = kernel_steps(arrays[f"{name}/kernel"], -1)
        arrays[f"{name}/kernel"] = steps * step
    return replace(model, arrays=arrays)


@dataclass(frozen=True)
class _Judge:
    """Photos, and what the float32 model says of them."""

    photos: NDArray[np.float32]  # (N, S, S, 3)
    logits: NDArray[np.float32]

    @classmethod
    def of(cls, model: Model, photos: Sequence[Pixels]) -> "_Judge":
        together = np.stack(photos)
        return cls(together, OnnxEngine.of(replace(model, quantization=None))(together))

    def decibels(self, model: Model) -> float:
        error = OnnxEngine.of(model)(self.photos) - self.logits
        power = float(np.square(self.logits, dtype=np.float64).sum())
        return 10 * float(np.log10(power / max(float(np.square(error, dtype=np.float64).sum()), 1e-12 * power)))
