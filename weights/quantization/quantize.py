"""Quantize a float32 model: compute its convolutions in 8 bits, except those that would lose too much accuracy."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.boxes.placement import Pixels
from detector.engines.onnxruntime import OnnxEngine
from detector.errors import ModelError
from detector.network.layers import Conv
from detector.network.quantization import Quantization, quantize_kernel
from detector.network.shapes import Array
from detector.network.spec import Model
from weights.quantization.calibration import calibrate

MIN_SNR_DB = 25.0
"""Smallest accepted ratio of the logits' power to the power of their quantization error, in dB. `everyday` has 30 dB with all layers
in 8 bits, and loses 0.15 points of AP50."""
COMPARED_IMAGES = 16  # Number of calibration images on which the outputs are compared.
_TOO_INACCURATE = (
    "{}: none of its {} convolutions can be computed in 8 bits. Even {!r}, the least sensitive, alone gives a signal-to-noise ratio of "
    "{:.1f} dB in the logits; {:g} dB are required. Use the model in float32, or calibrate on images that are typical of its use."
)


@dataclass(frozen=True)
class QuantizationResult:
    """A quantized model and its accuracy."""

    model: Model
    snr_db: float  # power of the logits / power of their error, on calibration images
    float_layers: tuple[str, ...]  # convolutions left in float32, the most sensitive first


def quantize_model(
    model: Model, images: Sequence[Pixels], *, min_snr_db: float = MIN_SNR_DB, on_image: Callable[[], object] = lambda: None
) -> QuantizationResult:
    """Calibrate the model and quantize all convolutions. Then keep the most sensitive ones in float32 until the error is small enough.

    The sensitivity of a convolution is measured by quantizing it alone.

    Args:
        model: A float32 model.
        images: Calibration images as network inputs, (S, S, 3) float32, 0..255.
        min_snr_db: Required signal-to-noise ratio of the logits.
        on_image: Called after each calibration image.

    Raises:
        SettingError: There are no images.
        ModelError: No convolution can be quantized.
    """
    stats = calibrate(model, images, on_image=on_image)
    comparison = _Comparison.of(model, images[:COMPARED_IMAGES])
    convolutions = [layer.name for layer in model.spec.network if isinstance(layer, Conv)]

    def with_quantized(layers: Collection[str]) -> tuple[Model, float]:
        quantized = round_kernels(replace(model, quantization=Quantization(tuple(layers), stats.ranges)), stats.means)
        return quantized, comparison.snr_db(quantized)

    result, snr_db = with_quantized(convolutions)
    float_layers: list[str] = []
    if snr_db < min_snr_db:
        snr_alone = {name: with_quantized([name])[1] for name in convolutions}
        by_sensitivity = sorted(convolutions, key=snr_alone.__getitem__)
        best = by_sensitivity[-1]
        if snr_alone[best] < min_snr_db:
            raise ModelError(_TOO_INACCURATE.format(model.name, len(convolutions), best, snr_alone[best], min_snr_db))
        while snr_db < min_snr_db:
            float_layers.append(by_sensitivity[len(float_layers)])
            result, snr_db = with_quantized([name for name in convolutions if name not in float_layers])
    return QuantizationResult(result, snr_db, tuple(float_layers))


def round_kernels(model: Model, means: Mapping[str, Array] | None = None) -> Model:
    """Round the kernels of quantized layers to the values that the model file stores.

    Args:
        model: A model with a quantization.
        means: Mean input of each convolution, (channels,), to correct the mean shift of its output that rounding causes (Nagel et al.,
            arXiv 1906.04721, section 4.2). The batch norm's mean or the bias is corrected. Depthwise kernels, with few weights, shift most.

    Returns:
        The model with rounded kernels.
    """
    arrays = dict(model.arrays)
    for layer in model.spec.network:
        if isinstance(layer, Conv) and model.quantization and layer.name in model.quantization.layers:
            name = f"{layer.name}/kernel"
            steps, step = quantize_kernel(arrays[name], -1)
            if means is not None:
                shift = _mean_shift(steps * step - arrays[name], means[layer.name], layer.groups)
                part, sign = ("mean", 1) if layer.normalize else ("bias", -1)
                arrays[f"{layer.name}/{part}"] = (arrays[f"{layer.name}/{part}"] + sign * shift).astype(np.float32)
            arrays[name] = steps * step
    return replace(model, arrays=arrays)


def _mean_shift(kernel_error: Array, mean: Array, groups: int) -> Array:
    """Return the mean change of each filter's output, (out,), for a kernel error (h, w, in / groups, out) and a mean input (in,)."""
    taps = kernel_error.sum(axis=(0, 1)).reshape(kernel_error.shape[2], groups, -1)  # (in / groups, groups, out / groups)
    shift: Array = np.einsum("igo,gi->go", taps, mean.reshape(groups, -1)).reshape(-1)
    return shift


@dataclass(frozen=True)
class _Comparison:
    """Images, and the float32 model's logits for them."""

    images: NDArray[np.float32]  # (N, S, S, 3)
    logits: NDArray[np.float32]

    @classmethod
    def of(cls, model: Model, images: Sequence[Pixels]) -> "_Comparison":
        batch = np.stack(images)
        return cls(batch, OnnxEngine.of(replace(model, quantization=None))(batch))

    def snr_db(self, model: Model) -> float:
        error = OnnxEngine.of(model)(self.images) - self.logits
        power = float(np.square(self.logits, dtype=np.float64).sum())
        return 10 * float(np.log10(power / max(float(np.square(error, dtype=np.float64).sum()), 1e-12 * power)))
