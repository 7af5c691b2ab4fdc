"""Layers and arrays -> ONNX graph: NCHW, batch norm folded into the kernels, 8 bits for quantized layers.

Input "images" (N, S, S, 3) float32, 0..255; output "logits" (N, G, G, A * (5 + C)) float32. N is any batch size.

An ONNX file contains the graph and its kernels. An engine receives them separately: copying 200 MB of kernels into a protobuf and out of
it would dominate the start time.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detector.engines.cores import usable_cores
from detector.network.layers import LEAKY_SLOPE, Activation, Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut, Upsample
from detector.network.shapes import Arrays, Shape, input_shapes, output_shapes
from detector.network.spec import Model
from detector.onnx.names import FEATURES, INPUT, OUTPUT
from detector.onnx.quantized import Kernels, quantize_graph

OPSET, IR_VERSION = 18, 9

FoldedConv = tuple[NDArray[np.float32], NDArray[np.float32]]  # Kernel and bias of a convolution, with folded batch norm.
OnnxParts = tuple[onnx.ModelProto, Kernels]  # A graph with references in place of its kernels, and the kernels.


def build_onnx(model: Model) -> onnx.ModelProto:
    """Build the model's network, including pixel scaling, as one self-contained graph."""
    graph, kernels = build_onnx_parts(model)
    for tensor in graph.graph.initializer:
        if tensor.name in kernels:
            tensor.CopyFrom(numpy_helper.from_array(kernels[tensor.name], tensor.name))
    return graph


def build_onnx_parts(model: Model) -> OnnxParts:
    """Build the graph and its kernels separately. 8-bit kernels are always in the graph.

    Raises ModelError if the quantization lacks the range of a tensor.
    """
    graph = _Graph()
    last = _add_network(graph, model, model.spec.network)
    graph.add("Transpose", [last], OUTPUT, perm=(0, 2, 3, 1))
    parts = graph.build(model, {OUTPUT: ("N", model.spec.grid, model.spec.grid, None)})
    return parts if model.quantization is None else quantize_graph(*parts, model.quantization)


def build_feature_parts(model: Model, layers: Sequence[str]) -> OnnxParts:
    """Build the first layers of the network, in float32, with the outputs of some of them.

    Args:
        model: The model.
        layers: Names of the layers to output, in network order. The outputs are named FEATURES, (N, side, side, channels).
    """
    spec, graph = model.spec, _Graph()
    end = [layer.name for layer in spec.network].index(layers[-1]) + 1
    _add_network(graph, model, spec.network[:end])
    shapes, outputs = output_shapes(spec.network, spec.input_size), {}
    for layer in layers:
        name = graph.add("Transpose", [layer], FEATURES.format(layer), perm=(0, 2, 3, 1))
        outputs[name] = ("N", shapes[layer].side, shapes[layer].side, shapes[layer].channels)
    return graph.build(model, outputs)


def _add_network(graph: "_Graph", model: Model, network: Network) -> str:
    spec = model.spec
    last = graph.add("Transpose", [INPUT], "pixels/nchw", perm=(0, 3, 1, 2))
    if spec.pixel_scale != 1:
        last = graph.add("Mul", [last, graph.constant("pixels/scale", np.float32(spec.pixel_scale))], "pixels/scaled")
    if spec.pixel_offset != 0:
        last = graph.add("Add", [last, graph.constant("pixels/offset", np.float32(spec.pixel_offset))], "pixels/moved")
    shapes = input_shapes(spec.network, spec.input_size)
    folded = _fold_all(network, model.arrays)
    for layer in network:
        last = _add_layer(graph, layer, last, shapes[layer.name], folded)
    return last


def _fold_all(network: Network, arrays: Arrays) -> dict[str, FoldedConv]:
    """Fold all convolutions, by layer name, in parallel threads: numpy releases the GIL."""
    convolutions = [layer for layer in network if isinstance(layer, Conv)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        folded = pool.map(lambda layer: fold_batch_norm(layer, arrays), convolutions)
        return {layer.name: pair for layer, pair in zip(convolutions, folded, strict=True)}


@dataclass
class _Graph:
    """Collects the nodes and constants of a graph."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    kernels: Kernels = field(default_factory=dict)

    def add(self, kind: str, sources: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, sources, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic] | np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def kernel(self, name: str, value: NDArray[np.float32]) -> str:
        """Add a reference to a constant that stays outside the graph."""
        reference = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=value.shape, data_location=TensorProto.EXTERNAL)
        reference.external_data.add(key="location", value=name)
        self.constants.append(reference)
        self.kernels[name] = value
        return name

    def build(self, model: Model, outputs: Mapping[str, tuple[str | int | None, ...]]) -> OnnxParts:
        size = model.spec.input_size
        images = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ("N", size, size, 3))
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, model.name, [images], results, self.constants)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="boxwright"), self.kernels


def _add_layer(graph: _Graph, layer: Layer, last: str, input_shape: Shape, folded: Mapping[str, FoldedConv]) -> str:
    """Append the layer's nodes. The last node has the layer's name, so that `Route` and `Shortcut` find it."""
    match layer:
        case Conv():
            kernel, bias = folded[layer.name]
            weights = [graph.kernel(f"{layer.name}/kernel", kernel), graph.constant(f"{layer.name}/bias", bias)]
            output = layer.name if layer.activation == "linear" else f"{layer.name}/linear"
            (low, high), stride = layer.pads, (layer.stride, layer.stride)
            options = {"kernel_shape": (layer.size, layer.size), "group": layer.groups}  # OpenCV 4 requires the optional shape
            graph.add("Conv", [last, *weights], output, pads=(low, low, high, high), strides=stride, **options)
            return _add_activation(graph, layer.activation, output, layer.name)
        case MaxPool():
            low, high = layer.pads
            window, stride = (layer.size, layer.size), (layer.stride, layer.stride)
            return graph.add("MaxPool", [last], layer.name, kernel_shape=window, strides=stride, pads=(low, low, high, high))
        case Reorg():
            return _add_reorg(graph, layer, last, input_shape)
        case Route():
            return graph.add("Concat", list(layer.layers), layer.name, axis=1)
        case Shortcut():
            output = layer.name if layer.activation == "linear" else f"{layer.name}/linear"
            graph.add("Add", [last, layer.source], output)
            return _add_activation(graph, layer.activation, output, layer.name)
        case Upsample():
            scales = graph.constant(f"{layer.name}/scales", np.array([1, 1, layer.stride, layer.stride], np.float32))
            options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return graph.add("Resize", [last, "", scales], layer.name, **options)


def fold_batch_norm(layer: Conv, arrays: Arrays) -> FoldedConv:
    """Return the kernel (out, in / groups, height, width) and bias (out,) of a convolution with folded batch norm."""
    kernel = arrays[f"{layer.name}/kernel"]
    if not layer.normalize:
        return _oihw(kernel, np.ones(layer.filters, np.float32)), arrays[f"{layer.name}/bias"]
    gamma, beta, mean, variance = (arrays[f"{layer.name}/{part}"].astype(np.float64) for part in ("gamma", "beta", "mean", "variance"))
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return _oihw(kernel, scale.astype(np.float32)), (beta - mean * scale).astype(np.float32)


def _oihw(kernel: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """(height, width, in, out), (out,) -> (out, in, height, width), each filter scaled.

    Transposing a few filters at a time fits into the CPU cache and takes half the time of one large transposition.
    """
    height, width, channels, filters = kernel.shape
    taps = kernel.reshape(height * width, channels, filters)
    transposed = np.empty((filters, channels, height * width), np.float32)
    for first in range(0, filters, _FILTERS_PER_STEP):
        part = slice(first, first + _FILTERS_PER_STEP)
        transposed[part] = (taps[:, :, part] * scale[part]).transpose(2, 1, 0)
    return transposed.reshape(filters, channels, height, width)


_FILTERS_PER_STEP = 64


def _add_activation(graph: _Graph, activation: Activation, source: str, output: str) -> str:
    match activation:
        case "linear":
            return output
        case "leaky":
            return graph.add("LeakyRelu", [source], output, alpha=LEAKY_SLOPE)
        case "relu6":
            bounds = [graph.constant(f"{output}/low", np.float32(0)), graph.constant(f"{output}/high", np.float32(6))]
            return graph.add("Clip", [source, *bounds], output)
        case "swish":
            return graph.add("Mul", [source, graph.add("Sigmoid", [source], f"{output}/gate")], output)
        case _:
            return graph.add(_ONNX_NAMES[activation], [source], output)


_ONNX_NAMES = {"relu": "Relu", "elu": "Elu", "selu": "Selu", "logistic": "Sigmoid", "tanh": "Tanh", "mish": "Mish"}


def _add_reorg(graph: _Graph, layer: Reorg, last: str, input_shape: Shape) -> str:
    if layer.order == "space-to-depth":
        return graph.add("SpaceToDepth", [last], layer.name, blocksize=layer.stride)
    stride, side, channels = layer.stride, input_shape.side, input_shape.channels  # as in `detector.network.reorg`, for any batch size
    shapes = ((0, channels // stride**2, side, stride, side, stride), (0, channels * stride**2, side // stride, side // stride))
    windows, result = (graph.constant(f"{layer.name}/shape{i}", np.array(shape, np.int64)) for i, shape in enumerate(shapes))
    last = graph.add("Reshape", [last, windows], f"{layer.name}/windows")
    last = graph.add("Transpose", [last], f"{layer.name}/sorted", perm=(0, 3, 5, 1, 2, 4))
    return graph.add("Reshape", [last, result], layer.name)
