"""Lower a network to the layers that a .cfg can express. The lowered network computes the same function.

| our layer | lowered to |
|---|---|
| pixel * scale + offset | a 1x1 convolution before the first layer |
| padding (a, b), a < b | a kernel larger by b - a, with zeros in its first rows and columns |
| relu6(x) | (leaky(x) - leaky(x - 6) - 0.6) / 0.9: one convolution with each filter twice, and a second one that combines each pair |
| space-to-depth | a strided convolution with a kernel that picks single pixels |

A replacement has the name of the layer that it replaces, so references stay valid.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np

from detector.errors import NetworkError
from detector.network.layers import LEAKY_SLOPE, Conv, Layer, Reorg
from detector.network.shapes import MAX_ACTIVATIONS, Array, Arrays, input_shapes
from detector.network.spec import Model

LoweredLayer = tuple[Layer, dict[str, Array]]  # A layer and its arrays by part: "kernel", "bias", ...

DARKNET_SCALE = 1 / 255


def lower_to_darknet(model: Model) -> Model:
    """Return the model with a lowered network. Its raw output is equal up to rounding.

    `fit`, `resample` and `edges` are not part of a .cfg: Darknet letterboxes every image. Raises NetworkError if a lowered kernel would
    have more than MAX_ACTIVATIONS numbers.
    """
    spec = model.spec
    shapes = input_shapes(spec.network, spec.input_size)
    lowered = list(_pixel_scaling(spec.pixel_scale, spec.pixel_offset))
    for layer in spec.network:
        lowered += _lower(layer, _parts(layer, model.arrays), shapes[layer.name].channels)
    arrays = {f"{layer.name}/{part}": array for layer, parts in lowered for part, array in parts.items()}
    network = tuple(layer for layer, _ in lowered)
    return replace(model, spec=replace(spec, network=network, pixel_scale=DARKNET_SCALE, pixel_offset=0.0), arrays=arrays)


def _parts(layer: Layer, arrays: Arrays) -> dict[str, Array]:
    if not isinstance(layer, Conv):
        return {}
    names = ("kernel", "gamma", "beta", "mean", "variance") if layer.normalize else ("kernel", "bias")
    return {part: arrays[f"{layer.name}/{part}"] for part in names}


def _lower(layer: Layer, parts: dict[str, Array], channels: int) -> Iterator[LoweredLayer]:
    match layer:
        case Reorg(order="space-to-depth"):
            yield _space_to_depth(layer, channels)
        case Conv():
            layer, parts = _symmetric_padding(layer, parts)
            yield from _without_relu6(layer, parts)
        case _:
            yield layer, parts


def _pixel_scaling(scale: float, offset: float) -> Iterator[LoweredLayer]:
    """Yield a separate layer for the scaling. The next layer cannot include it, because its zero padding applies to scaled pixels."""
    if (scale, offset) != (DARKNET_SCALE, 0):
        kernel = (np.eye(3) * (scale / DARKNET_SCALE))[None, None]
        layer = Conv("darknet_pixels", 3, size=1, normalize=False, activation="linear")
        yield layer, {"kernel": kernel.astype(np.float32), "bias": np.full(3, offset, np.float32)}


def _symmetric_padding(layer: Conv, parts: dict[str, Array]) -> LoweredLayer:
    before, after = layer.pads
    if before >= after:
        return layer, parts
    extra = after - before
    _check_kernel(layer, (layer.size + extra, layer.size + extra, *parts["kernel"].shape[2:]))
    kernel = np.pad(parts["kernel"], ((extra, 0), (extra, 0), (0, 0), (0, 0)))
    return replace(layer, size=layer.size + extra, padding=(after, after)), parts | {"kernel": kernel}


def _without_relu6(layer: Layer, parts: dict[str, Array]) -> Iterator[LoweredLayer]:
    if not isinstance(layer, Conv) or layer.activation != "relu6":
        yield layer, parts
        return
    doubled = {part: np.repeat(array, 2, axis=-1) for part, array in parts.items()}  # filters alternate: x, x - 6
    doubled["beta" if layer.normalize else "bias"][1::2] -= 6
    yield replace(layer, name=f"{layer.name}_pair", filters=2 * layer.filters, activation="leaky"), doubled
    share = np.array([1, -1], np.float32) / (1 - LEAKY_SLOPE)
    kernel = np.repeat(share[:, None], layer.filters, axis=1)[None, None]  # (1, 1, 2, filters)
    bias = np.full(layer.filters, -6 * LEAKY_SLOPE / (1 - LEAKY_SLOPE), np.float32)
    combined = Conv(layer.name, layer.filters, size=1, groups=layer.filters, normalize=False, activation="linear")
    yield combined, {"kernel": kernel, "bias": bias}


def _space_to_depth(layer: Reorg, channels: int) -> LoweredLayer:
    stride = layer.stride
    filters = channels * stride**2
    _check_kernel(layer, (filters, filters))
    kernel = np.eye(filters, dtype=np.float32).reshape(stride, stride, channels, filters)  # filter (dy * stride + dx) * C + c
    convolution = Conv(layer.name, filters, stride, stride, normalize=False, activation="linear", padding=(0, 0))
    return convolution, {"kernel": kernel, "bias": np.zeros(filters, np.float32)}


def _check_kernel(layer: Layer, shape: tuple[int, ...]) -> None:
    if prod(shape) > MAX_ACTIVATIONS:
        raise NetworkError(
            f"layer {layer.name!r}: lowered for Darknet, its kernel would have {prod(shape):,} numbers; the limit is {MAX_ACTIVATIONS:,}."
        )
