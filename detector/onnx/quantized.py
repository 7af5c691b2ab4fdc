"""A float32 ONNX graph -> the same graph with chosen convolutions in 8 bits: quantise-dequantise pairs, which onnxruntime fuses.

Between layers unsigned 8 bits, one scale and zero point for a tensor; kernels signed, a scale for each filter (Jacob et al., arXiv
1712.05877; Krishnamoorthi, arXiv 1806.08342); biases 32 bits. What is not chosen stays in float32.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from detector.quantization import Quantization, Range, kernel_steps

_KEEPS_RANGE = {"MaxPool", "Reshape", "Transpose", "SpaceToDepth", "Resize"}  # no number comes out that did not go in
_FLOWS = {"Concat", "Add", "LeakyRelu"}  # done in 8 bits if all that goes in is
_CUTS = {"Relu", "Clip"}  # an unsigned range that ends where they cut does the same: they vanish into the convolution before them

_BIAS_STEPS = 2**30  # that a bias may take; as many of the 32 bits are left for the products that are added to it

Kernels = dict[str, NDArray[np.float32]]
"""By the name that the graph has for them."""


def in_int8(graph: onnx.ModelProto, kernels: Kernels, quantization: Quantization) -> tuple[onnx.ModelProto, Kernels]:
    """The graph of `onnx_model.build_apart` with that quantisation's layers in 8 bits, and the kernels that are still outside of it.

    Raises ModelError for a tensor of unknown range.
    """
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    cut = {node.input[0] for node in graph.graph.node if node.op_type in _CUTS}
    rewriting = _Rewriting(quantization, kernels, constants, cut)
    last = graph.graph.node[-1]
    for node in graph.graph.node:
        if node is last:
            rewriting.copy(node)
        else:
            rewriting.take(node)
    used = {source for node in rewriting.nodes for source in node.input}
    result = helper.make_graph(
        rewriting.nodes,
        graph.graph.name,
        graph.graph.input,
        graph.graph.output,
        [tensor for name, tensor in constants.items() if name in used],
    )
    changed = helper.make_model(result, opset_imports=graph.opset_import, ir_version=graph.ir_version, producer_name=graph.producer_name)
    return changed, {name: kernel for name, kernel in kernels.items() if name in used}


@dataclass
class _Rewriting:
    """The new graph as it grows."""

    quantization: Quantization
    kernels: Kernels
    constants: dict[str, onnx.TensorProto]
    cut: set[str]  # tensors that Relu or Clip read
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    pairs: dict[str, Range] = field(default_factory=dict)  # tensors that have a pair behind them

    def take(self, node: onnx.NodeProto) -> None:
        """Copy the node, in 8 bits where it is chosen or what goes in is."""
        output, first = node.output[0], node.input[0]
        if node.op_type == "Conv" and output.removesuffix("/linear") in self.quantization.layers:
            self._convolution(node)
        elif node.op_type in _CUTS and first in self.pairs:
            self.copy(node, [first, *node.input[1:]])
            self._pair(output, self.pairs[first])
            del self.pairs[first]
        elif node.op_type in _KEEPS_RANGE and first in self.pairs:
            self.copy(node)
            self._pair(output, self.pairs[first])
        elif node.op_type in _FLOWS and all(source in self.pairs for source in node.input):
            self.copy(node)
            self._pair(output, self.quantization.range_of(output))
        else:
            self.copy(node)

    def copy(self, node: onnx.NodeProto, sources: list[str] | None = None) -> None:
        """The node itself, reading the dequantised tensor where there is one."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = sources or [f"{source}/dequantised" if source in self.pairs else source for source in node.input]
        self.nodes.append(copied)

    def _convolution(self, node: onnx.NodeProto) -> None:
        source, output = node.input[0], node.output[0]
        if source not in self.pairs:
            self._pair(source, self.quantization.range_of(source))
        scale, _ = _scale(self.pairs[source])
        bias = numpy_helper.to_array(self.constants[node.input[2]])
        least = np.abs(bias) / (_BIAS_STEPS * scale.astype(np.float64))  # beside a large bias a tiny kernel is coarse, or all zeros
        kernel, steps = kernel_steps(self.kernels[node.input[1]], 0, least)
        both = scale.astype(np.float64) * steps
        whole = np.rint(bias / both).astype(np.int32)
        weights = [self._dequantised(node.input[1], kernel, steps), self._dequantised(node.input[2], whole, both.astype(np.float32))]
        self.copy(node, [f"{source}/dequantised", *weights])
        if output in self.cut:
            self.pairs[output] = self.quantization.range_of(output.removesuffix("/linear"))
        else:
            self._pair(output, self.quantization.range_of(output))

    def _dequantised(self, name: str, values: NDArray[np.generic], steps: NDArray[np.float32]) -> str:
        """A constant of whole numbers with a step for each filter."""
        sources = [self._constant(f"{name}/steps", values), self._constant(f"{name}/step", steps)]
        zero = self._constant(f"{name}/zero", np.zeros(len(steps), values.dtype))
        self.nodes.append(helper.make_node("DequantizeLinear", [*sources, zero], [f"{name}/dequantised"], f"{name}/dequantised", axis=0))
        return f"{name}/dequantised"

    def _pair(self, tensor: str, span: Range) -> None:
        scale, zero = _scale(span)
        facts = [self._constant(f"{tensor}/scale", scale), self._constant(f"{tensor}/zero", zero)]
        names = f"{tensor}/quantised", f"{tensor}/dequantised"
        self.nodes.append(helper.make_node("QuantizeLinear", [tensor, *facts], [names[0]], names[0]))
        self.nodes.append(helper.make_node("DequantizeLinear", [names[0], *facts], [names[1]], names[1]))
        self.pairs[tensor] = span

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


def _scale(span: Range) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of a tensor; zero itself is always a step."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = np.float32(max((high - low) / 255, 1e-12))
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))
