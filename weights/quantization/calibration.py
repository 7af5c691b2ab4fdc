"""What numbers come up between a model's layers on real photos: the ranges that its 8 bits are laid over."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime

from detector.engines.cores import usable_cores
from detector.errors import SettingError
from detector.onnx.graph import build_onnx
from detector.onnx.names import INPUT
from detector.placement import Pixels
from detector.quantization import Range
from detector.shapes import Array
from detector.spec import Model


@dataclass(frozen=True)
class Seen:
    """What came up, by tensor of the float32 graph."""

    ranges: dict[str, Range]
    means: dict[str, Array]  # (channels,) of what each convolution reads, by the convolution's name


def calibrate(model: Model, photos: Iterable[Pixels], *, advance: Callable[[], object] = lambda: None) -> Seen:
    """Run photos as the network reads them, (S, S, 3) float32, 0..255, through the float32 network and look at every tensor.

    A range goes from the least to the greatest number of all photos; cutting the rare ones off was tried and found worse
    (docs/performance.md). `advance` is called after each photo. Raises SettingError without photos.
    """
    graph = build_onnx(replace(model, quantization=None))
    names = [node.output[0] for node in graph.graph.node[:-1]]
    read = {node.output[0].removesuffix("/linear"): names.index(node.input[0]) for node in graph.graph.node if node.op_type == "Conv"}
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    limits, means = [], []
    for pixels in photos:
        tensors = session.run(names, {INPUT: pixels[None]})
        limits.append([(tensor.min(), tensor.max()) for tensor in tensors])
        means.append({name: tensors[index].mean(axis=(0, 2, 3)) for name, index in read.items()})
        advance()
    if not limits:
        raise SettingError("there are no photos to calibrate on; give a folder with some hundred JPEGs like those the model will see.")
    lows, highs = np.array(limits, np.float64).transpose(2, 0, 1)  # (photos, tensors) each
    ranges = {name: (float(low), float(high)) for name, low, high in zip(names, lows.min(axis=0), highs.max(axis=0), strict=True)}
    return Seen(ranges, {name: np.mean([each[name] for each in means], axis=0) for name in read})
