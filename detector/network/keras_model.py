"""Layers and arrays -> Keras model, for training and the reference engine.

Input (N, S, S, 3) float32, 0..255; output (N, G, G, A * (5 + C)). The model has only Keras's own layers, so that a saved `.keras` file
opens without Boxwright. The Keras layers are named after ours: "conv1", "conv1_bn", "conv1_leaky". In `detector`, only this module and the
reference engine import TensorFlow.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # by default, TensorFlow disables oneDNN without VNNI, although oneDNN is faster there

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from detector.network.layers import LEAKY_SLOPE, Conv, Layer, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.network.shapes import Array, Arrays, Shape, input_shapes, output_shapes
from detector.network.spec import Model, ModelSpec


@dataclass(frozen=True)
class LayerTypes:
    """The Keras layer classes of a network. Replacements must have the same arguments and variables."""

    convolution: Callable[..., Any] = keras.layers.Conv2D
    depthwise: Callable[..., Any] = keras.layers.DepthwiseConv2D
    batch_norm: Callable[..., Any] = keras.layers.BatchNormalization
    leaky: Callable[..., Any] = keras.layers.LeakyReLU


def build_keras(model: Model) -> Any:
    """Build the model's network, including pixel scaling, and assign its arrays."""
    network = build_untrained_keras(model.spec)
    assign_arrays(network, model)
    return network


def build_untrained_keras(
    spec: ModelSpec,
    *,
    share_weights_with: Any = None,
    extra_layers: Mapping[str, Any] | None = None,
    feature_inputs: Sequence[str] = (),
    layer_types: LayerTypes = LayerTypes(),
) -> Any:
    """Build the network with Keras's initial values.

    Args:
        spec: The model to build.
        share_weights_with: A network built earlier, possibly for another input size. The new network uses its layers and weights.
        extra_layers: Keras layers that training adds, such as dropout, by the name of the layer that they follow.
        feature_inputs: Names of layers, in network order. Their outputs (N, side, side, channels) replace the images as inputs, by
            name. The new network begins after the last of these layers, and must not read any other layer before it.
        layer_types: The Keras classes to use.
    """
    weight_layers = _WeightLayers(share_weights_with, layer_types)
    model_inputs, last = _model_inputs(spec, feature_inputs)
    outputs: dict[str, Any] = dict(model_inputs) if feature_inputs else {}
    shapes = input_shapes(spec.network, spec.input_size)
    names = [layer.name for layer in spec.network]
    for layer in spec.network[names.index(feature_inputs[-1]) + 1 if feature_inputs else 0 :]:
        last = _apply(layer, last, shapes[layer.name], outputs, weight_layers)
        if extra_layers and layer.name in extra_layers:
            last = extra_layers[layer.name](last)
        outputs[layer.name] = last
    return keras.Model(model_inputs, last)


def _model_inputs(spec: ModelSpec, feature_inputs: Sequence[str]) -> tuple[Any, Any]:
    """Return the Keras inputs and the tensor that the first layer reads."""
    if feature_inputs:
        shapes = output_shapes(spec.network, spec.input_size)
        features = {name: keras.Input((shapes[name].side, shapes[name].side, shapes[name].channels), name=name) for name in feature_inputs}
        return features, features[feature_inputs[-1]]
    pixels = keras.Input((spec.input_size, spec.input_size, 3), name="images")
    return pixels, keras.layers.Rescaling(spec.pixel_scale, spec.pixel_offset, name="pixels_scaled")(pixels)


@dataclass(frozen=True)
class _WeightLayers:
    """The Keras layers that have weights: new ones, or those of an earlier network."""

    shared: Any
    layer_types: LayerTypes

    def convolution(self, layer: Conv, channels: int) -> Any:
        return _convolution(layer, channels, self.layer_types) if self.shared is None else self.shared.get_layer(layer.name)

    def norm(self, layer: Conv) -> Any:
        name = f"{layer.name}_bn"
        return self.layer_types.batch_norm(epsilon=layer.epsilon, name=name) if self.shared is None else self.shared.get_layer(name)


def _apply(layer: Layer, last: Any, input_shape: Shape, outputs: dict[str, Any], weight_layers: _WeightLayers) -> Any:
    match layer:
        case Conv():
            last = weight_layers.convolution(layer, input_shape.channels)(_padded(layer, last, 0.0))
            if layer.normalize:
                last = weight_layers.norm(layer)(last)
            return _activated(layer, last, weight_layers.layer_types)
        case MaxPool():
            last = _padded(layer, last, -np.inf)
            return keras.layers.MaxPooling2D(layer.size, layer.stride, name=layer.name)(last)
        case Reorg():
            return _reorganised(layer, last, input_shape)
        case Route(layers=(single,)):
            return outputs[single]
        case Route():
            return keras.layers.Concatenate(name=layer.name)([outputs[name] for name in layer.layers])
        case Shortcut():
            return _activated(layer, keras.layers.Add(name=layer.name)([last, outputs[layer.source]]), weight_layers.layer_types)
        case Upsample():
            return keras.layers.UpSampling2D(layer.stride, interpolation="nearest", name=layer.name)(last)


def _padded(layer: Conv | MaxPool, last: Any, value: float) -> Any:
    if not any(layer.pads) or _is_same_padding(layer):
        return last
    return keras.ops.pad(last, [(0, 0), layer.pads, layer.pads, (0, 0)], constant_values=value)


def _is_same_padding(layer: Conv | MaxPool) -> bool:
    """Return whether the padding equals TensorFlow's "same" at stride 1, which is faster than separate padding."""
    total = layer.size - 1
    return isinstance(layer, Conv) and layer.stride == 1 and layer.pads == (total // 2, total - total // 2)


def _convolution(layer: Conv, channels: int, layer_types: LayerTypes) -> Any:
    options: dict[str, Any] = {
        "strides": layer.stride,
        "padding": "same" if _is_same_padding(layer) else "valid",
        "use_bias": not layer.normalize,
        "name": layer.name,
    }
    if layer.groups == channels == layer.filters and channels > 1:
        return layer_types.depthwise(layer.size, **options)  # grouped convolutions have no gradient on CPUs
    return layer_types.convolution(layer.filters, layer.size, groups=layer.groups, **options)


def _activated(layer: Conv | Shortcut, last: Any, layer_types: LayerTypes) -> Any:
    name = f"{layer.name}_{layer.activation}"
    match layer.activation:
        case "linear":
            return last
        case "leaky":
            return layer_types.leaky(negative_slope=LEAKY_SLOPE, name=name)(last)
        case "logistic":
            return keras.layers.Activation("sigmoid", name=name)(last)
        case _:
            return keras.layers.Activation(layer.activation, name=name)(last)


def _reorganised(layer: Reorg, last: Any, input_shape: Shape) -> Any:
    """Apply `detector.network.reorg` to (N, H, W, C)."""
    stride, side, channels = layer.stride, input_shape.side, input_shape.channels
    if layer.order == "space-to-depth":
        windows = keras.ops.reshape(last, (-1, side // stride, stride, side // stride, stride, channels))
        moved = keras.ops.transpose(windows, (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(moved, (-1, side // stride, side // stride, channels * stride**2))
    channels_first = keras.ops.transpose(last, (0, 3, 1, 2))
    windows = keras.ops.reshape(channels_first, (-1, channels // stride**2, side, stride, side, stride))
    moved = keras.ops.transpose(windows, (0, 3, 5, 1, 2, 4))
    result = keras.ops.reshape(moved, (-1, channels * stride**2, side // stride, side // stride))
    return keras.ops.transpose(result, (0, 2, 3, 1))


def assign_arrays(network: Any, model: Model) -> None:
    """Assign the model's arrays to the variables of the Keras model."""
    for layer in model.spec.network:
        if isinstance(layer, Conv):
            _assign_convolution(network.get_layer(layer.name), layer, model.arrays)
            if layer.normalize:
                parts = ("gamma", "beta", "mean", "variance")
                network.get_layer(f"{layer.name}_bn").set_weights([model.arrays[f"{layer.name}/{part}"] for part in parts])


def _assign_convolution(keras_layer: Any, layer: Conv, arrays: Arrays) -> None:
    kernel = arrays[f"{layer.name}/kernel"]
    if isinstance(keras_layer, keras.layers.DepthwiseConv2D):
        kernel = kernel.transpose(0, 1, 3, 2)  # Keras stores (height, width, channels, 1)
    keras_layer.set_weights([kernel] if layer.normalize else [kernel, arrays[f"{layer.name}/bias"]])


def read_keras_arrays(network: Any, spec: ModelSpec) -> dict[str, Array]:
    """Return the arrays of a network from `build_untrained_keras`: the inverse of `assign_arrays`."""
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
