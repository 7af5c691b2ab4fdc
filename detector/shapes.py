"""What follows from the layers alone: shapes, the arrays a network needs, parameters, operations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.errors import ArraysError, NetworkError, join_names
from detector.network import Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut, Upsample

NAME = re.compile(r"(?!(images|pixels_scaled|logits)$)[A-Za-z0-9_.-]+", re.ASCII)
"""Of a layer. The three are the ends of the engines' graphs; what has a '/' is an array, or lies between two layers."""

Array = NDArray[np.float32]
Arrays = Mapping[str, Array]
"""Arrays by name: "conv1/kernel" (height, width, in / groups, out); "conv1/gamma", "/beta", "/mean", "/variance" (out,) or "conv1/bias"."""


@dataclass(frozen=True)
class Shape:
    """A layer's output: `side` cells square, `channels` deep."""

    side: int
    channels: int

    @property
    def numbers(self) -> int:
        """How many there are in it."""
        return self.side**2 * self.channels


MAX_NUMBERS = 2**30
"""In all layers' outputs for one photo together: 4 GiB in float32, YOLOv2 at 2,400 pixels. A file of some hundred bytes may ask for any
number, and whoever runs its network would make room for them."""


def trace(network: Network, input_size: int) -> dict[str, Shape]:
    """Output shape of every layer, by name and in order, for an input of (input_size, input_size, 3).

    Raises NetworkError where a name is taken twice or unknown, where shapes do not fit, or where they have more than MAX_NUMBERS.
    """
    shapes: dict[str, Shape] = {}
    before, numbers = Shape(input_size, 3), 0
    for layer in network:
        if not NAME.fullmatch(layer.name):
            raise NetworkError(f"layer {layer.name!r}: a name is of letters, digits, '_', '-', '.', and not images, pixels_scaled, logits.")
        if layer.name in shapes:
            raise NetworkError(f"layer {layer.name!r}: the name is taken twice; give every layer a name of its own.")
        output = shapes[layer.name] = _output(layer, before, shapes)
        if output.side < 1:
            raise NetworkError(f"layer {layer.name!r}: nothing is left of an input of {input_size} pixels; use a larger input size.")
        numbers += max(_padded(layer, before).numbers, output.numbers)
        if numbers > MAX_NUMBERS:
            raise NetworkError(
                f"layer {layer.name!r}: with an input of {input_size} pixels the layers up to here put out {numbers:,} numbers, "
                f"more than the {MAX_NUMBERS:,} that we make room for; use a smaller input size, or fewer filters."
            )
        before = output
    return shapes


def _padded(layer: Layer, before: Shape) -> Shape:
    """What the layer reads, once an engine has put its padding around it."""
    return Shape(before.side + sum(layer.pads), before.channels) if isinstance(layer, Conv | MaxPool) else before


def _output(layer: Layer, before: Shape, shapes: Mapping[str, Shape]) -> Shape:
    match layer:
        case Conv():
            _check_conv(layer, before)
            return Shape((_padded(layer, before).side - layer.size) // layer.stride + 1, layer.filters)
        case MaxPool():
            _check_pool(layer)
            return Shape((_padded(layer, before).side - layer.size) // layer.stride + 1, before.channels)
        case Reorg():
            _check_reorg(layer, before)
            return Shape(before.side // layer.stride, before.channels * layer.stride**2)
        case Route():
            sources = [_named(layer, name, shapes) for name in layer.layers]
            if not sources or len({source.side for source in sources}) > 1:
                sides = join_names([f"{name} {source.side}" for name, source in zip(layer.layers, sources, strict=True)])
                raise NetworkError(f"layer {layer.name!r}: routed layers must be of one side, got {sides or 'no layer'}.")
            return Shape(sources[0].side, sum(source.channels for source in sources))
        case Shortcut():
            source = _named(layer, layer.source, shapes)
            if source != before:
                raise NetworkError(f"layer {layer.name!r}: adds {layer.source!r} of shape {source} to {before}; they must be equal.")
            return before
        case Upsample():
            if layer.stride < 1:
                raise NetworkError(f"layer {layer.name!r}: the stride is at least 1; got {layer}.")
            return Shape(before.side * layer.stride, before.channels)


Fact = TypeVar("Fact")


def _named(layer: Layer, name: str, facts: Mapping[str, Fact]) -> Fact:
    if name not in facts:
        raise NetworkError(f"layer {layer.name!r}: there is no layer {name!r} before it.")
    return facts[name]


def _check_conv(layer: Conv, before: Shape) -> None:
    if min(layer.filters, layer.size, layer.stride, layer.groups) < 1 or min(layer.pads) < 0:
        raise NetworkError(f"layer {layer.name!r}: filters, size, stride, groups are at least 1, padding at least 0; got {layer}.")
    if before.channels % layer.groups or layer.filters % layer.groups:
        raise NetworkError(
            f"layer {layer.name!r}: {before.channels} channels and {layer.filters} filters do not divide into {layer.groups} groups."
        )


def _check_pool(layer: MaxPool) -> None:
    if min(layer.size, layer.stride) < 1 or min(layer.pads) < 0 or max(layer.pads) >= layer.size:  # no window may lie outside altogether
        raise NetworkError(f"layer {layer.name!r}: size and stride are at least 1, padding 0 to 2 * (size - 1); got {layer}.")


def _check_reorg(layer: Reorg, before: Shape) -> None:
    if layer.stride < 1:
        raise NetworkError(f"layer {layer.name!r}: the stride is at least 1; got {layer}.")
    if before.side % layer.stride:
        raise NetworkError(f"layer {layer.name!r}: a side of {before.side} cells is not a multiple of its stride {layer.stride}.")
    if layer.order == "darknet" and before.channels % layer.stride**2:
        raise NetworkError(f"layer {layer.name!r}: Darknet's order needs a multiple of {layer.stride**2} channels, got {before.channels}.")


def inputs(network: Network, input_size: int) -> dict[str, Shape]:
    """Shape of what each layer reads from the layer before it (for `Route`: nothing; the key is there all the same)."""
    outputs = [Shape(input_size, 3), *trace(network, input_size).values()]
    return {layer.name: before for layer, before in zip(network, outputs, strict=False)}


def array_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """The arrays that the network needs, by name, in the order of its layers. They do not depend on the input size."""
    needed: dict[str, tuple[int, ...]] = {}
    channels = _channels_read(network)
    for layer in network:
        if isinstance(layer, Conv):
            needed[f"{layer.name}/kernel"] = (layer.size, layer.size, channels[layer.name] // layer.groups, layer.filters)
            for part in ("gamma", "beta", "mean", "variance") if layer.normalize else ("bias",):
                needed[f"{layer.name}/{part}"] = (layer.filters,)
    return needed


def _channels_read(network: Network) -> dict[str, int]:
    """Channels that each layer reads from the one before it. Unlike sides they follow from the layers alone."""
    read: dict[str, int] = {}
    written: dict[str, int] = {}
    channels = 3
    for layer in network:
        read[layer.name] = channels
        match layer:
            case Conv():
                channels = layer.filters
            case Reorg():
                channels *= layer.stride**2
            case Route():
                channels = sum(_named(layer, name, written) for name in layer.layers)
            case MaxPool() | Shortcut() | Upsample():
                pass
        written[layer.name] = channels
    return read


def check_arrays(network: Network, arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Raise ArraysError unless there is an array of the right shape for every name, and no other."""
    needed = array_shapes(network)
    for name, shape in needed.items():
        if name not in arrays:
            raise ArraysError(f"array {name!r} of shape {shape} is missing; the file holds a different network.")
        if arrays[name].shape != shape:
            raise ArraysError(f"array {name!r} has shape {arrays[name].shape}, the network needs {shape}.")
    surplus = sorted(set(arrays) - set(needed))
    if surplus:
        raise ArraysError(f"{len(surplus)} arrays belong to no layer, {surplus[0]!r} first; the file holds a different network.")


def parameters(network: Network) -> int:
    """Numbers in all arrays of the network, moving statistics included."""
    return sum(parameters_by_layer(network).values())


def parameters_by_layer(network: Network) -> dict[str, int]:
    """The same, layer by layer: 0 for one that has no arrays."""
    counts = {layer.name: 0 for layer in network}
    for name, shape in array_shapes(network).items():
        counts[name.rpartition("/")[0]] += prod(shape)
    return counts


def operations(network: Network, input_size: int) -> int:
    """Multiplications and additions of the convolutions for one photo (2 per weight and output cell, as Darknet counts BFLOPs)."""
    return sum(operations_by_layer(network, input_size).values())


def operations_by_layer(network: Network, input_size: int) -> dict[str, int]:
    """The same, layer by layer: 0 for what is no convolution."""
    outputs, kernels = trace(network, input_size), array_shapes(network)
    return {name: 2 * prod(kernels.get(f"{name}/kernel", (0,))) * output.side**2 for name, output in outputs.items()}
