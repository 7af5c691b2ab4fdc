"""layers + arrays -> Keras model, for training and as the reference engine. Imports TensorFlow; nothing else in `detector` does.

Input (N, S, S, 3) float32, 0..255; output (N, G, G, A * (5 + C)). Only layers that Keras itself ships, so that a saved
`.keras` file opens without Boxwright. Keras layers are called as ours: "conv1", "conv1_bn", "conv1_leaky".
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off by default on AMD CPUs, where it is quicker too

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from detector.network import LEAKY_SLOPE, Conv, Layer, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.shapes import Array, Arrays, Shape, inputs, trace
from detector.spec import Model, ModelSpec


@dataclass(frozen=True)
class LayerTypes:
    """The classes of Keras layers that a network is made of. Others must have the same arguments and variables."""

    convolution: Callable[..., Any] = keras.layers.Conv2D
    depthwise: Callable[..., Any] = keras.layers.DepthwiseConv2D
    batch_norm: Callable[..., Any] = keras.layers.BatchNormalization
    leaky: Callable[..., Any] = keras.layers.LeakyReLU


def build_keras(model: Model) -> Any:
    """The model's whole network, pixel scaling included, with its arrays assigned."""
    network = empty_keras(model.spec)
    assign(network, model)
    return network


def empty_keras(
    spec: ModelSpec,
    *,
    shared: Any = None,
    after: Mapping[str, Any] | None = None,
    given: Sequence[str] = (),
    kinds: LayerTypes = LayerTypes(),
) -> Any:
    """The network with Keras's initial values.

    shared: a network made before, of another input size perhaps, whose layers this one uses; both then have the same weights.
    after: Keras layers that training adds, such as dropout, by the name of the layer that they follow.
    given: layers, in the network's order, whose outputs (N, side, side, channels) are its inputs, by name, instead of images;
    what comes after the last of them is made, and reads nothing else of what lies before.
    """
    owners = _Owners(shared, kinds)
    read, last = _beginning(spec, given)
    outputs: dict[str, Any] = dict(read) if given else {}
    before = inputs(spec.network, spec.input_size)
    names = [layer.name for layer in spec.network]
    for layer in spec.network[names.index(given[-1]) + 1 if given else 0 :]:
        last = _apply(layer, last, before[layer.name], outputs, owners)
        if after and layer.name in after:
            last = after[layer.name](last)
        outputs[layer.name] = last
    return keras.Model(read, last)


def _beginning(spec: ModelSpec, given: Sequence[str]) -> tuple[Any, Any]:
    """The network's inputs, and what its first layer reads."""
    if given:
        shapes = trace(spec.network, spec.input_size)
        read = {name: keras.Input((shapes[name].side, shapes[name].side, shapes[name].channels), name=name) for name in given}
        return read, read[given[-1]]
    pixels = keras.Input((spec.input_size, spec.input_size, 3), name="images")
    return pixels, keras.layers.Rescaling(spec.pixel_scale, spec.pixel_offset, name="pixels_scaled")(pixels)


@dataclass(frozen=True)
class _Owners:
    """The Keras layers that own the weights: new ones, or those of a network made before."""

    shared: Any
    kinds: LayerTypes

    def convolution(self, layer: Conv, channels: int) -> Any:
        return _convolution(layer, channels, self.kinds) if self.shared is None else self.shared.get_layer(layer.name)

    def norm(self, layer: Conv) -> Any:
        name = f"{layer.name}_bn"
        return self.kinds.batch_norm(epsilon=layer.epsilon, name=name) if self.shared is None else self.shared.get_layer(name)


def _apply(layer: Layer, last: Any, before: Shape, outputs: dict[str, Any], owners: _Owners) -> Any:
    match layer:
        case Conv():
            last = owners.convolution(layer, before.channels)(_padded(layer, last, 0.0))
            if layer.normalize:
                last = owners.norm(layer)(last)
            return _activated(layer, last, owners.kinds)
        case MaxPool():
            last = _padded(layer, last, -np.inf)
            return keras.layers.MaxPooling2D(layer.size, layer.stride, name=layer.name)(last)
        case Reorg():
            return _reorganised(layer, last, before)
        case Route(layers=(single,)):
            return outputs[single]
        case Route():
            return keras.layers.Concatenate(name=layer.name)([outputs[name] for name in layer.layers])
        case Shortcut():
            return _activated(layer, keras.layers.Add(name=layer.name)([last, outputs[layer.source]]), owners.kinds)
        case Upsample():
            return keras.layers.UpSampling2D(layer.stride, interpolation="nearest", name=layer.name)(last)


def _padded(layer: Conv | MaxPool, last: Any, value: float) -> Any:
    if not any(layer.pads) or _same(layer):
        return last
    return keras.ops.pad(last, [(0, 0), layer.pads, layer.pads, (0, 0)], constant_values=value)


def _same(layer: Conv | MaxPool) -> bool:
    """Whether the padding is that of TensorFlow's "same" at stride 1, which is quicker than padding by itself."""
    total = layer.size - 1
    return isinstance(layer, Conv) and layer.stride == 1 and layer.pads == (total // 2, total - total // 2)


def _convolution(layer: Conv, channels: int, kinds: LayerTypes) -> Any:
    options: dict[str, Any] = {
        "strides": layer.stride,
        "padding": "same" if _same(layer) else "valid",
        "use_bias": not layer.normalize,
        "name": layer.name,
    }
    if layer.groups == channels == layer.filters and channels > 1:
        return kinds.depthwise(layer.size, **options)  # grouped convolutions have no gradient on CPUs
    return kinds.convolution(layer.filters, layer.size, groups=layer.groups, **options)


def _activated(layer: Conv | Shortcut, last: Any, kinds: LayerTypes) -> Any:
    name = f"{layer.name}_{layer.activation}"
    match layer.activation:
        case "linear":
            return last
        case "leaky":
            return kinds.leaky(negative_slope=LEAKY_SLOPE, name=name)(last)
        case "logistic":
            return keras.layers.Activation("sigmoid", name=name)(last)
        case _:
            return keras.layers.Activation(layer.activation, name=name)(last)


def _reorganised(layer: Reorg, last: Any, before: Shape) -> Any:
    """As `detector.reorg`, on (N, H, W, C)."""
    stride, side, channels = layer.stride, before.side, before.channels
    if layer.order == "space-to-depth":
        windows = keras.ops.reshape(last, (-1, side // stride, stride, side // stride, stride, channels))
        moved = keras.ops.transpose(windows, (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(moved, (-1, side // stride, side // stride, channels * stride**2))
    channels_first = keras.ops.transpose(last, (0, 3, 1, 2))
    windows = keras.ops.reshape(channels_first, (-1, channels // stride**2, side, stride, side, stride))
    moved = keras.ops.transpose(windows, (0, 3, 5, 1, 2, 4))
    result = keras.ops.reshape(moved, (-1, channels * stride**2, side // stride, side // stride))
    return keras.ops.transpose(result, (0, 2, 3, 1))


def assign(network: Any, model: Model) -> None:
    """Give every variable of the Keras model its array."""
    for layer in model.spec.network:
        if isinstance(layer, Conv):
            _assign_convolution(network.get_layer(layer.name), layer, model.arrays)
            if layer.normalize:
                parts = ("gamma", "beta", "mean", "variance")
                network.get_layer(f"{layer.name}_bn").set_weights([model.arrays[f"{layer.name}/{part}"] for part in parts])


def _assign_convolution(keras_layer: Any, layer: Conv, arrays: Arrays) -> None:
    kernel = arrays[f"{layer.name}/kernel"]
    if isinstance(keras_layer, keras.layers.DepthwiseConv2D):
        kernel = kernel.transpose(0, 1, 3, 2)  # Keras keeps (height, width, channels, 1)
    keras_layer.set_weights([kernel] if layer.normalize else [kernel, arrays[f"{layer.name}/bias"]])


def read_back(network: Any, spec: ModelSpec) -> dict[str, Array]:
    """The arrays of a Keras model that `empty_keras` made: `assign` undone."""
    arrays: dict[str, Array] = {}
    for layer in spec.network:
        if not isinstance(layer, Conv):
            continue
        keras_layer = network.get_layer(layer.name)
        kernel, *bias = (np.asarray(weight) for weight in keras_layer.get_weights())
        depthwise = isinstance(keras_layer, keras.layers.DepthwiseConv2D)
        arrays[f"{layer.name}/kernel"] = kernel.transpose(0, 1, 3, 2) if depthwise else kernel
        if layer.normalize:
            values = network.get_layer(f"{layer.name}_bn").get_weights()
            arrays |= {f"{layer.name}/{part}": np.asarray(v) for part, v in zip(("gamma", "beta", "mean", "variance"), values, strict=True)}
        else:
            arrays[f"{layer.name}/bias"] = bias[0]
    return arrays
