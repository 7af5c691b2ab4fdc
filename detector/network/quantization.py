"""8-bit quantization of a model: its quantized layers and the value ranges of the tensors between its layers.

A weight of a quantized kernel has 255 possible values, which are multiples of its filter's scale. The filter's largest magnitude determines
the scale. Therefore `quantize_kernel` recovers the scales from a quantized kernel, and quantizing it again does not change it. Batch norm
scales whole filters, so it may be folded before or after quantization.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelError
from detector.network.layers import Conv, Network

Range = tuple[float, float]  # Lowest and highest value of a tensor. Values outside are clipped.

STEPS = 127  # Steps on either side of zero. -128 is unused, so that both sides are equal.


@dataclass(frozen=True)
class Quantization:
    """Quantized layers and value ranges. Raises ModelError if a range is invalid. `check` compares it with a network."""

    layers: tuple[str, ...]  # convolutions that are computed in 8 bits
    ranges: Mapping[str, Range]  # by tensor of the ONNX graph: "conv1", "conv1/linear" before its activation, "pixels/scaled"

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            if not -_MAX_RANGE < low <= high < _MAX_RANGE:
                limit = f"{_MAX_RANGE:g}"
                raise ModelError(f"the range of {name!r} must be two ascending numbers from -{limit} to {limit}, got {low} to {high}.")

    def range_of(self, tensor: str) -> Range:
        """Return the range of a tensor. Raises ModelError if calibration did not record one."""
        if tensor not in self.ranges:
            raise ModelError(f"the range of {tensor!r} is missing; without it the layers around it cannot be computed in 8 bits.")
        return self.ranges[tensor]

    def check(self, network: Network) -> None:
        """Raise ModelError unless every quantized layer is a convolution of the network and named once."""
        convolutions = {layer.name for layer in network if isinstance(layer, Conv)}
        for name in self.layers:
            if name not in convolutions:
                raise ModelError(f"the quantized layer {name!r} is not a convolution of the network.")
        if len(set(self.layers)) != len(self.layers):
            raise ModelError("the list of quantized layers names a layer twice.")


def quantize_kernel(
    kernel: NDArray[np.float32], axis: int, min_scales: NDArray[np.float64] | float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize a kernel with one scale per filter.

    Args:
        kernel: Float kernel with filters along `axis`.
        axis: The axis of the filters.
        min_scales: Lower limits of the scales before they are rounded: one number, or (filters,).

    Returns:
        Values -127..127 and the scale of each filter, 1 for a filter that is practically zero. A scale has 16 significant bits, so
        that its multiples are exact in float32: quantizing `values * scale` returns the same values and scale.
    """
    others = tuple(each for each in range(kernel.ndim) if each != axis % kernel.ndim)
    largest = np.abs(kernel).max(axis=others)
    needed = np.maximum(np.where(largest > _MIN_MAGNITUDE, largest / np.float32(STEPS), np.float32(0)), min_scales).astype(np.float32)
    unrounded = np.where(needed > _MIN_MAGNITUDE / (2 * STEPS), needed, np.float32(1))
    scales = ((unrounded.view(np.uint32) + 0x80) & np.uint32(0xFFFFFF00)).view(np.float32)
    return np.rint(kernel / np.expand_dims(scales, others)).astype(np.int8), scales


_MAX_RANGE = 1e30  # float32 also holds the difference of two such values
_MIN_MAGNITUDE = 1e-30  # scales near the smallest float32 numbers would lack 16 significant bits
