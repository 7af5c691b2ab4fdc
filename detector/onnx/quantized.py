"""Quantize convolutions of a float32 ONNX graph to 8 bits, with quantize-dequantize pairs that onnxruntime fuses.

Tensors between layers are unsigned, with one scale and zero point each. Kernels are signed, with one scale per filter (Jacob et al.,
arXiv 1712.05877; Krishnamoorthi, arXiv 1806.08342). Biases have 32 bits. The other layers stay in float32.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from detector.network.quantization import Quantization, Range, quantize_kernel

_KEEPS_RANGE = {"MaxPool", "Reshape", "Transpose", "SpaceToDepth", "Resize"}  # the output has only values of the input
_FOLLOWS_INPUTS = {"Concat", "Add", "LeakyRelu"}  # in 8 bits if all inputs are
_CLIPS = {"Relu", "Clip"}  # onnxruntime merges them into the convolution, because an unsigned range clips at the same values

_MAX_BIAS_STEPS = 2**30  # leaves half of the 32-bit range for the products that are added to the bias

Kernels = dict[str, NDArray[np.float32]]  # Float32 kernels by their name in the graph.


def quantize_graph(graph: onnx.ModelProto, kernels: Kernels, quantization: Quantization) -> tuple[onnx.ModelProto, Kernels]:
    """Quantize a graph of `graph.build_onnx_parts`. Return the new graph and the kernels that stay outside it.

    Raises ModelError if the range of a tensor is missing.
    """
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    clipped = {node.input[0] for node in graph.graph.node if node.op_type in _CLIPS}
    rewriter = _GraphRewriter(quantization, kernels, constants, clipped)
    last = graph.graph.node[-1]
    for node in graph.graph.node:
        if node is last:
            rewriter.copy(node)
        else:
            rewriter.add(node)
    used = {source for node in rewriter.nodes for source in node.input}
    result = helper.make_graph(
        rewriter.nodes,
        graph.graph.name,
        graph.graph.input,
        graph.graph.output,
        [tensor for name, tensor in constants.items() if name in used],
    )
    changed = helper.make_model(result, opset_imports=graph.opset_import, ir_version=graph.ir_version, producer_name=graph.producer_name)
    return changed, {name: kernel for name, kernel in kernels.items() if name in used}


@dataclass
class _GraphRewriter:
    """Builds the quantized graph node by node."""

    quantization: Quantization
    kernels: Kernels
    constants: dict[str, onnx.TensorProto]
    clipped: set[str]  # inputs of Relu or Clip
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    pairs: dict[str, Range] = field(default_factory=dict)  # tensors that are followed by a quantize-dequantize pair

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node, in 8 bits if its layer is quantized or its inputs are."""
        output, first = node.output[0], node.input[0]
        if node.op_type == "Conv" and output.removesuffix("/linear") in self.quantization.layers:
            self._convolution(node)
        elif node.op_type in _CLIPS and first in self.pairs:
            self.copy(node, [first, *node.input[1:]])
            self._pair(output, self.pairs[first])
            del self.pairs[first]
        elif node.op_type in _KEEPS_RANGE and first in self.pairs:
            self.copy(node)
            self._pair(output, self.pairs[first])
        elif node.op_type in _FOLLOWS_INPUTS and all(source in self.pairs for source in node.input):
            self.copy(node)
            self._pair(output, self.quantization.range_of(output))
        else:
            self.copy(node)

    def copy(self, node: onnx.NodeProto, sources: list[str] | None = None) -> None:
        """Add a copy of a node. Its inputs are dequantized tensors where they exist."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = sources or [f"{source}/dequantized" if source in self.pairs else source for source in node.input]
        self.nodes.append(copied)

    def _convolution(self, node: onnx.NodeProto) -> None:
        source, output = node.input[0], node.output[0]
        if source not in self.pairs:
            self._pair(source, self.quantization.range_of(source))
        scale, _ = _scale(self.pairs[source])
        bias = numpy_helper.to_array(self.constants[node.input[2]])
        # A bias that is large for its kernel requires a scale that rounds the kernel coarsely, or to zero.
        min_scales = np.abs(bias) / (_MAX_BIAS_STEPS * scale.astype(np.float64))
        kernel, kernel_scales = quantize_kernel(self.kernels[node.input[1]], 0, min_scales)
        bias_scales = scale.astype(np.float64) * kernel_scales
        bias_steps = np.rint(bias / bias_scales).astype(np.int32)
        weights = [
            self._dequantized(node.input[1], kernel, kernel_scales),
            self._dequantized(node.input[2], bias_steps, bias_scales.astype(np.float32)),
        ]
        self.copy(node, [f"{source}/dequantized", *weights])
        if output in self.clipped:
            self.pairs[output] = self.quantization.range_of(output.removesuffix("/linear"))
        else:
            self._pair(output, self.quantization.range_of(output))

    def _dequantized(self, name: str, values: NDArray[np.generic], scales: NDArray[np.float32]) -> str:
        """Add an integer constant with one scale per filter, and dequantize it."""
        sources = [self._constant(f"{name}/steps", values), self._constant(f"{name}/step", scales)]
        zero = self._constant(f"{name}/zero", np.zeros(len(scales), values.dtype))
        self.nodes.append(helper.make_node("DequantizeLinear", [*sources, zero], [f"{name}/dequantized"], f"{name}/dequantized", axis=0))
        return f"{name}/dequantized"

    def _pair(self, tensor: str, value_range: Range) -> None:
        scale, zero = _scale(value_range)
        parameters = [self._constant(f"{tensor}/scale", scale), self._constant(f"{tensor}/zero", zero)]
        names = f"{tensor}/quantized", f"{tensor}/dequantized"
        self.nodes.append(helper.make_node("QuantizeLinear", [tensor, *parameters], [names[0]], names[0]))
        self.nodes.append(helper.make_node("DequantizeLinear", [names[0], *parameters], [names[1]], names[1]))
        self.pairs[tensor] = value_range

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


def _scale(value_range: Range) -> tuple[np.float32, np.uint8]:
    """Return the scale and zero point of a tensor. Zero is always exactly representable."""
    low, high = min(value_range[0], 0.0), max(value_range[1], 0.0)
    scale = np.float32(max((high - low) / 255, 1e-12))
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))
