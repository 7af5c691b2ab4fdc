"""Facts derived from the layers: output shapes, array shapes, and counts of parameters and operations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.errors import ArraysError, NetworkError
from detector.messages import count_of, join_names
from detector.network.layers import Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut, Upsample

LAYER_NAME = re.compile(r"(?!(images|pixels_scaled|logits)$)[A-Za-z0-9_.-]+", re.ASCII)
"""Pattern of layer names. The three excluded names are inputs and outputs of the engines' graphs; '/' is for arrays and tensors."""

Array = NDArray[np.float32]
Arrays = Mapping[str, Array]
"""Arrays by name: "conv1/kernel" (height, width, in / groups, out); "conv1/gamma", "/beta", "/mean", "/variance" (out,) or "conv1/bias"."""


@dataclass(frozen=True)
class Shape:
    """A layer's output: (side, side, channels)."""

    side: int
    channels: int

    @property
    def values(self) -> int:
        """Number of values."""
        return self.side**2 * self.channels


MAX_ACTIVATIONS = 2**30
"""Maximum number of values in the outputs of all layers for one image: 4 GiB in float32, enough for YOLOv2 at 2,400 pixels. Without this
limit, a model file of a few hundred bytes could demand any amount of memory."""


def output_shapes(network: Network, input_size: int) -> dict[str, Shape]:
    """Return the output shape of every layer, by name and in order, for an input of (input_size, input_size, 3).

    Raises NetworkError if a name is invalid, used twice or unknown, shapes do not fit, or the outputs exceed MAX_ACTIVATIONS.
    """
    shapes: dict[str, Shape] = {}
    input_shape, total = Shape(input_size, 3), 0
    for layer in network:
        if not LAYER_NAME.fullmatch(layer.name):
            raise NetworkError(
                f"layer {layer.name!r}: a name may have only letters, digits, '_', '-', '.'; images, pixels_scaled, logits are reserved."
            )
        if layer.name in shapes:
            raise NetworkError(f"layer {layer.name!r}: the name is used twice; give every layer a unique name.")
        output = shapes[layer.name] = _output(layer, input_shape, shapes)
        if output.side < 1:
            raise NetworkError(f"layer {layer.name!r}: an input of {input_size} pixels leaves an empty output; use a larger input size.")
        total += max(_padded(layer, input_shape).values, output.values)
        if total > MAX_ACTIVATIONS:
            raise NetworkError(
                f"layer {layer.name!r}: with an input of {input_size} pixels the layers up to this one output {total:,} values; "
                f"the limit is {MAX_ACTIVATIONS:,}. Use a smaller input size, or fewer filters."
            )
        input_shape = output
    return shapes


def _padded(layer: Layer, input_shape: Shape) -> Shape:
    """Return the shape of the layer's padded input."""
    return Shape(input_shape.side + sum(layer.pads), input_shape.channels) if isinstance(layer, Conv | MaxPool) else input_shape


def _output(layer: Layer, input_shape: Shape, shapes: Mapping[str, Shape]) -> Shape:
    match layer:
        case Conv():
            _check_conv(layer, input_shape)
            return Shape((_padded(layer, input_shape).side - layer.size) // layer.stride + 1, layer.filters)
        case MaxPool():
            _check_pool(layer)
            return Shape((_padded(layer, input_shape).side - layer.size) // layer.stride + 1, input_shape.channels)
        case Reorg():
            _check_reorg(layer, input_shape)
            return Shape(input_shape.side // layer.stride, input_shape.channels * layer.stride**2)
        case Route():
            sources = [_lookup(layer, name, shapes) for name in layer.layers]
            if not sources or len({source.side for source in sources}) > 1:
                sides = join_names([f"{name} {source.side}" for name, source in zip(layer.layers, sources, strict=True)])
                raise NetworkError(f"layer {layer.name!r}: routed layers must have equal sides, got {sides or 'no layer'}.")
            return Shape(sources[0].side, sum(source.channels for source in sources))
        case Shortcut():
            source = _lookup(layer, layer.source, shapes)
            if source != input_shape:
                raise NetworkError(
                    f"layer {layer.name!r}: adds {layer.source!r} of shape {source} to {input_shape}; the shapes must be equal."
                )
            return input_shape
        case Upsample():
            if layer.stride < 1:
                raise NetworkError(f"layer {layer.name!r}: the stride must be at least 1; got {layer}.")
            return Shape(input_shape.side * layer.stride, input_shape.channels)


T = TypeVar("T")


def _lookup(layer: Layer, name: str, by_name: Mapping[str, T]) -> T:
    if name not in by_name:
        raise NetworkError(f"layer {layer.name!r}: no earlier layer is named {name!r}.")
    return by_name[name]


def _check_conv(layer: Conv, input_shape: Shape) -> None:
    if min(layer.filters, layer.size, layer.stride, layer.groups) < 1 or min(layer.pads) < 0:
        raise NetworkError(
            f"layer {layer.name!r}: filters, size, stride and groups must be at least 1 and padding at least 0; got {layer}."
        )
    if input_shape.channels % layer.groups or layer.filters % layer.groups:
        raise NetworkError(
            f"layer {layer.name!r}: groups={layer.groups} must divide channels={input_shape.channels} and filters={layer.filters}."
        )


def _check_pool(layer: MaxPool) -> None:
    if min(layer.size, layer.stride) < 1 or min(layer.pads) < 0 or max(layer.pads) >= layer.size:  # no window may contain only padding
        raise NetworkError(f"layer {layer.name!r}: size and stride must be at least 1 and padding 0 to 2 * (size - 1); got {layer}.")


def _check_reorg(layer: Reorg, input_shape: Shape) -> None:
    if layer.stride < 1:
        raise NetworkError(f"layer {layer.name!r}: the stride must be at least 1; got {layer}.")
    if input_shape.side % layer.stride:
        raise NetworkError(
            f"layer {layer.name!r}: a side of {count_of(input_shape.side, 'cell')} is not a multiple of its stride {layer.stride}."
        )
    if layer.order == "darknet" and input_shape.channels % layer.stride**2:
        raise NetworkError(
            f"layer {layer.name!r}: Darknet's order needs a multiple of {layer.stride**2} channels, got {input_shape.channels}."
        )


def input_shapes(network: Network, input_size: int) -> dict[str, Shape]:
    """Return the output shape of the layer before each layer, by the layer's name. `Route` ignores it."""
    outputs = [Shape(input_size, 3), *output_shapes(network, input_size).values()]
    return {layer.name: output for layer, output in zip(network, outputs, strict=False)}


def array_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the network's arrays, by name, in layer order. They do not depend on the input size."""
    needed: dict[str, tuple[int, ...]] = {}
    channels = _channels_read(network)
    for layer in network:
        if isinstance(layer, Conv):
            needed[f"{layer.name}/kernel"] = (layer.size, layer.size, channels[layer.name] // layer.groups, layer.filters)
            for part in ("gamma", "beta", "mean", "variance") if layer.normalize else ("bias",):
                needed[f"{layer.name}/{part}"] = (layer.filters,)
    return needed


def _channels_read(network: Network) -> dict[str, int]:
    """Return the channels of the layer before each layer. Unlike sides, they do not depend on the input size."""
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
                channels = sum(_lookup(layer, name, written) for name in layer.layers)
            case MaxPool() | Shortcut() | Upsample():
                pass
        written[layer.name] = channels
    return read


def check_arrays(network: Network, arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Raise ArraysError unless `arrays` has exactly the arrays that the network needs, with the right shapes."""
    needed = array_shapes(network)
    for name, shape in needed.items():
        if name not in arrays:
            raise ArraysError(f"array {name!r} of shape {shape} is missing; the file belongs to a different network.")
        if arrays[name].shape != shape:
            raise ArraysError(f"array {name!r} has shape {arrays[name].shape}, the network needs {shape}.")
    surplus = sorted(set(arrays) - set(needed))
    if surplus:
        raise ArraysError(
            f"{count_of(len(surplus), 'array')} without a layer, for example {surplus[0]!r}; the file belongs to a different network."
        )


def parameters(network: Network) -> int:
    """Return the number of parameters, including the moving statistics of batch norm."""
    return sum(parameters_by_layer(network).values())


def parameters_by_layer(network: Network) -> dict[str, int]:
    """Return the number of parameters of every layer, 0 for a layer without arrays."""
    counts = {layer.name: 0 for layer in network}
    for name, shape in array_shapes(network).items():
        counts[name.rpartition("/")[0]] += prod(shape)
    return counts


def operations(network: Network, input_size: int) -> int:
    """Return the floating-point operations of all convolutions for one image: 2 per weight and output cell, as in Darknet's BFLOPs."""
    return sum(operations_by_layer(network, input_size).values())


def comparisons(network: Network, input_size: int) -> int:
    """Return the comparisons of all max pools for one image: the values of the window for each output."""
    outputs = output_shapes(network, input_size)
    return sum(layer.size**2 * outputs[layer.name].values for layer in network if isinstance(layer, MaxPool))


def operations_by_layer(network: Network, input_size: int) -> dict[str, int]:
    """Return the floating-point operations of every layer, 0 for a layer that is not a convolution."""
    outputs, kernels = output_shapes(network, input_size), array_shapes(network)
    return {name: 2 * prod(kernels.get(f"{name}/kernel", (0,))) * output.side**2 for name, output in outputs.items()}
