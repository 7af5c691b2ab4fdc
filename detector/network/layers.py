"""The network as data: a tuple of immutable layers, with the layer types of Darknet.

A layer reads the output of the layer before it; `Route` and `Shortcut` also name earlier layers. Other modules derive the shapes
and counts (`shapes`), the Keras model (`keras_model`), the ONNX graph (`onnx.graph`) and a Darknet .cfg (`weights`).
"""

from dataclasses import dataclass
from typing import Literal, get_args

Activation = Literal["linear", "leaky", "relu", "relu6", "elu", "selu", "logistic", "tanh", "swish", "mish"]
ReorgOrder = Literal["darknet", "space-to-depth"]

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
LEAKY_SLOPE = 0.1  # Slope of `leaky` below zero (Darknet src/activations.h).


@dataclass(frozen=True)
class Conv:
    """A convolution, its batch norm (or bias) and its activation."""

    name: str  # "conv6_5": used by freezing, weight files and error messages
    filters: int
    size: int = 3
    stride: int = 1
    groups: int = 1  # groups == channels: depthwise
    normalize: bool = True  # batch norm instead of a bias
    activation: Activation = "leaky"
    epsilon: float = 1e-5  # added to the variance
    padding: tuple[int, int] | None = None  # zeros before and after, both axes; None: size // 2, as Darknet's pad=1

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros (before, after) on both axes."""
        return self.padding if self.padding is not None else (self.size // 2, self.size // 2)


@dataclass(frozen=True)
class MaxPool:
    """Max pooling, padded with minus infinity."""

    name: str
    size: int = 2
    stride: int = 2
    padding: int | None = None  # total of both sides, the smaller half first; None: size - 1 (Darknet src/parser.c, parse_maxpool)

    @property
    def pads(self) -> tuple[int, int]:
        """Cells (before, after) on both axes."""
        total = self.size - 1 if self.padding is None else self.padding
        return total // 2, total - total // 2


@dataclass(frozen=True)
class Reorg:
    """Exchange resolution for channels: (C, H, W) -> (stride² C, H / stride, W / stride). See `reorg`."""

    name: str
    stride: int = 2
    order: ReorgOrder = "space-to-depth"


@dataclass(frozen=True)
class Route:
    """Concatenate the outputs of earlier layers over channels, in the order given."""

    name: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Shortcut:
    """Add the output of an earlier layer of the same shape to the previous output."""

    name: str
    source: str
    activation: Activation = "linear"


@dataclass(frozen=True)
class Upsample:
    """Repeat every cell `stride` times on both axes (nearest neighbour; Darknet's [upsample])."""

    name: str
    stride: int = 2


Layer = Conv | MaxPool | Reorg | Route | Shortcut | Upsample
Network = tuple[Layer, ...]
