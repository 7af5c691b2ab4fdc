"""Any of our networks in Darknet's words: the same function, rewritten with nothing but layers that a .cfg can say.

| ours | Darknet's |
|---|---|
| pixel * scale + offset | a 1x1 convolution in front |
| padding (a, b), a < b | a kernel larger by b - a, its first rows and columns zero |
| relu6(x) | (leaky(x) - leaky(x - 6) - 0.6) / 0.9: a convolution with each filter twice, and one that takes the two together |
| space-to-depth | a convolution of stride 2 whose kernel picks single pixels |

A layer that replaces another keeps its name, so whatever refers to it still does.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np

from detector.errors import NetworkError
from detector.network import LEAKY_SLOPE, Conv, Layer, Reorg
from detector.shapes import MAX_ACTIVATIONS, Array, Arrays, input_shapes
from detector.spec import Model

Step = tuple[Layer, dict[str, Array]]
"""A layer and its arrays by part: "kernel", "bias", ..."""

DARKNET_SCALE = 1 / 255


def lower_to_darknet(model: Model) -> Model:
    """The model with its network rewritten; the raw output stays the same, to rounding.

    How a photo is placed (`fit`, `resample`, `edges`) is no part of a .cfg: Darknet letterboxes whatever it is given.
    Raises NetworkError where a rewritten kernel would have more than MAX_NUMBERS.
    """
    spec = model.spec
    before = input_shapes(spec.network, spec.input_size)
    steps = list(_pixels(spec.pixel_scale, spec.pixel_offset))
    for layer in spec.network:
        steps += _rewritten(layer, _parts(layer, model.arrays), before[layer.name].channels)
    arrays = {f"{layer.name}/{part}": array for layer, parts in steps for part, array in parts.items()}
    network = tuple(layer for layer, _ in steps)
    return replace(model, spec=replace(spec, network=network, pixel_scale=DARKNET_SCALE, pixel_offset=0.0), arrays=arrays)


def _parts(layer: Layer, arrays: Arrays) -> dict[str, Array]:
    if not isinstance(layer, Conv):
        return {}
    names = ("kernel", "gamma", "beta", "mean", "variance") if layer.normalize else ("kernel", "bias")
    return {part: arrays[f"{layer.name}/{part}"] for part in names}


def _rewritten(layer: Layer, parts: dict[str, Array], channels: int) -> Iterator[Step]:
    match layer:
        case Reorg(order="space-to-depth"):
            yield _picking(layer, channels)
        case Conv():
            layer, parts = _evenly_padded(layer, parts)
            yield from _without_relu6(layer, parts)
        case _:
            yield layer, parts


def _pixels(scale: float, offset: float) -> Iterator[Step]:
    """A layer of its own, not folded into the next: that one's padding is zeros in what comes out here."""
    if (scale, offset) != (DARKNET_SCALE, 0):
        kernel = (np.eye(3) * (scale / DARKNET_SCALE))[None, None]
        layer = Conv("darknet_pixels", 3, size=1, normalize=False, activation="linear")
        yield layer, {"kernel": kernel.astype(np.float32), "bias": np.full(3, offset, np.float32)}


def _evenly_padded(layer: Conv, parts: dict[str, Array]) -> Step:
    before, after = layer.pads
    if before >= after:
        return layer, parts
    more = after - before
    _check_kernel(layer, (layer.size + more, layer.size + more, *parts["kernel"].shape[2:]))
    kernel = np.pad(parts["kernel"], ((more, 0), (more, 0), (0, 0), (0, 0)))
    return replace(layer, size=layer.size + more, padding=(after, after)), parts | {"kernel": kernel}


def _without_relu6(layer: Layer, parts: dict[str, Array]) -> Iterator[Step]:
    if not isinstance(layer, Conv) or layer.activation != "relu6":
        yield layer, parts
        return
    twice = {part: np.repeat(array, 2, axis=-1) for part, array in parts.items()}  # filter by filter: x, x - 6
    twice["beta" if layer.normalize else "bias"][1::2] -= 6
    yield replace(layer, name=f"{layer.name}_pair", filters=2 * layer.filters, activation="leaky"), twice
    share = np.array([1, -1], np.float32) / (1 - LEAKY_SLOPE)
    kernel = np.repeat(share[:, None], layer.filters, axis=1)[None, None]  # (1, 1, 2, filters)
    bias = np.full(layer.filters, -6 * LEAKY_SLOPE / (1 - LEAKY_SLOPE), np.float32)
    together = Conv(layer.name, layer.filters, size=1, groups=layer.filters, normalize=False, activation="linear")
    yield together, {"kernel": kernel, "bias": bias}


def _picking(layer: Reorg, channels: int) -> Step:
    stride = layer.stride
    filters = channels * stride**2
    _check_kernel(layer, (filters, filters))
    kernel = np.eye(filters, dtype=np.float32).reshape(stride, stride, channels, filters)  # filter (dy * stride + dx) * C + c
    picking = Conv(layer.name, filters, stride, stride, normalize=False, activation="linear", padding=(0, 0))
    return picking, {"kernel": kernel, "bias": np.zeros(filters, np.float32)}


def _check_kernel(layer: Layer, shape: tuple[int, ...]) -> None:
    if prod(shape) > MAX_ACTIVATIONS:
        raise NetworkError(
            f"layer {layer.name!r}: in Darknet's words its kernel would have {prod(shape):,} numbers; a .cfg cannot say that."
        )
