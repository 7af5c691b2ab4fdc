"""Which layers a model computes in 8 bits, and the ranges that were seen between its layers.

Kernels need nothing beside themselves: those of such a layer lie on a grid of 255 steps for each filter, from its largest magnitude
down. So the steps can be told from the kernel (`kernel_steps`), and a kernel that lies on its grid is not changed by being rounded again.
Batch norm scales whole filters, hence steps with them: it may be folded before or after.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelError
from detector.network import Conv, Network

Range = tuple[float, float]
"""The least and the greatest number of a tensor, as far as they are told apart."""

STEPS = 127
"""On either side of zero: -128 is left out, so that both sides are alike."""


@dataclass(frozen=True)
class Quantization:
    """Raises ModelError where ranges are none. `check` compares it with the network that it is for."""

    layers: tuple[str, ...]  # convolutions that are computed in 8 bits
    ranges: Mapping[str, Range]  # by tensor of the ONNX graph: "conv1", "conv1/linear" before its activation, "pixels/scaled"

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            if not -_LARGEST < low <= high < _LARGEST:
                raise ModelError(f"the range of {name!r} must go from a number up to another, got {low} to {high}.")

    def range_of(self, tensor: str) -> Range:
        """Raises ModelError where nobody saw what goes there."""
        if tensor not in self.ranges:
            raise ModelError(f"the range of {tensor!r} is missing; without it the layers around it cannot be computed in 8 bits.")
        return self.ranges[tensor]

    def check(self, network: Network) -> None:
        """Raise ModelError unless each of its layers is a convolution of the network, named once."""
        convolutions = {layer.name for layer in network if isinstance(layer, Conv)}
        for name in self.layers:
            if name not in convolutions:
                raise ModelError(f"layer {name!r} is to be computed in 8 bits, but the network has no such convolution.")
        if len(set(self.layers)) != len(self.layers):
            raise ModelError("a layer is named twice among those to be computed in 8 bits.")


def kernel_steps(
    kernel: NDArray[np.float32], axis: int, least: NDArray[np.float64] | float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A kernel, filters along `axis` -> the nearest steps, -127..127, and the step of each filter (1 where it is as good as all zeros).

    A step is of 16 bits, so that its multiples are float32 numbers exactly: `steps * step` comes back as it went.
    least: what a step must not be below, but for that rounding; of all filters or each, (filters,).
    """
    others = tuple(each for each in range(kernel.ndim) if each != axis % kernel.ndim)
    largest = np.abs(kernel).max(axis=others)
    finest = np.maximum(np.where(largest > _SMALLEST, largest / np.float32(STEPS), np.float32(0)), least).astype(np.float32)
    exact = np.where(finest > _SMALLEST / (2 * STEPS), finest, np.float32(1))
    step = ((exact.view(np.uint32) + 0x80) & np.uint32(0xFFFFFF00)).view(np.float32)
    return np.rint(kernel / np.expand_dims(step, others)).astype(np.int8), step


_LARGEST = 1e30  # of a range: what float32 can hold, and its products too
_SMALLEST = 1e-30  # below, a step would have no 16 bits
