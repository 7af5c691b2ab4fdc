"""A float32 model -> one whose convolutions are computed in 8 bits, as far as that does no harm."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.engines.onnxruntime import OnnxEngine
from detector.errors import ModelError
from detector.network import Conv
from detector.placement import Pixels
from detector.quantization import Quantization, quantize_kernel
from detector.shapes import Array
from detector.spec import Model
from weights.quantization.calibration import calibrate

ENOUGH_DECIBELS = 25.0
"""Logits' power over that of what 8 bits add to them. `everyday` has 28 and loses 0.1 AP points; no layer of it need be left out."""
_REFUSAL = (
    "{}: none of its {} convolutions can be computed in 8 bits: even {!r}, the least harmful, alone leaves {:.1f} dB between the logits "
    "and their error, and {:g} are wanted. Use the model in float32, or give photos that are more like those it is for."
)
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

    How harmful a layer is, is measured: it alone is computed in 8 bits. Raises SettingError without photos,
    ModelError where no layer may be in 8 bits.
    """
    seen = calibrate(model, photos, advance=advance)
    judge = _Judge.of(model, photos[:JUDGES])
    convolutions = [layer.name for layer in model.spec.network if isinstance(layer, Conv)]

    def tried(layers: Collection[str]) -> tuple[Model, float]:
        quantised = rounded(replace(model, quantization=Quantization(tuple(layers), seen.ranges)), seen.means)
        return quantised, judge.decibels(quantised)

    result, decibels = tried(convolutions)
    left: list[str] = []
    if decibels < enough:
        alone = {name: tried([name])[1] for name in convolutions}
        harmful = sorted(convolutions, key=alone.__getitem__)
        if alone[harmful[-1]] < enough:
            raise ModelError(_REFUSAL.format(model.name, len(harmful), harmful[-1], alone[harmful[-1]], enough))
        while decibels < enough:
            left.append(harmful[len(left)])
            result, decibels = tried([name for name in convolutions if name not in left])
    return Quantized(result, decibels, tuple(left))


def rounded(model: Model, means: Mapping[str, Array] | None = None) -> Model:
    """The same model with the kernels of its quantised layers on their grids, as its file will have them.

    means: of what each convolution reads, (channels,). With them the shift that rounding a kernel gives its sums is taken back from its
    batch norm's mean or its bias (Nagel et al., arXiv 1906.04721, section 4.2); depthwise kernels, nine numbers each, shift the most.
    """
    arrays = dict(model.arrays)
    for layer in model.spec.network:
        if isinstance(layer, Conv) and model.quantization and layer.name in model.quantization.layers:
            name = f"{layer.name}/kernel"
            steps, step = quantize_kernel(arrays[name], -1)
            if means is not None:
                shift = _shift(steps * step - arrays[name], means[layer.name], layer.groups)
                part, sign = ("mean", 1) if layer.normalize else ("bias", -1)
                arrays[f"{layer.name}/{part}"] = (arrays[f"{layer.name}/{part}"] + sign * shift).astype(np.float32)
            arrays[name] = steps * step
    return replace(model, arrays=arrays)


def _shift(error: Array, mean: Array, groups: int) -> Array:
    """Kernel's error (h, w, in / groups, out), mean (in,) -> what it adds to each filter's sums on the average, (out,)."""
    taps = error.sum(axis=(0, 1)).reshape(error.shape[2], groups, -1)  # (in / groups, groups, out / groups)
    shift: Array = np.einsum("igo,gi->go", taps, mean.reshape(groups, -1)).reshape(-1)
    return shift


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
