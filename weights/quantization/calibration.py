"""Value ranges of a model's tensors on real images, from which quantization derives its scales."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime

from detector.boxes.placement import Pixels
from detector.engines.cores import usable_cores
from detector.errors import SettingError
from detector.network.quantization import Range
from detector.network.shapes import Array
from detector.network.spec import Model
from detector.onnx.graph import build_onnx
from detector.onnx.names import INPUT


@dataclass(frozen=True)
class CalibrationStats:
    """Statistics of the float32 network's tensors."""

    ranges: dict[str, Range]  # tensor -> smallest and largest value
    means: dict[str, Array]  # convolution -> mean of its input, (channels,)


def calibrate(model: Model, images: Iterable[Pixels], *, on_image: Callable[[], object] = lambda: None) -> CalibrationStats:
    """Run images through the float32 network and collect statistics of every tensor.

    A range extends from the smallest to the largest value on all images. Clipping outliers gave worse results (docs/performance.md).

    Args:
        model: The model. Its quantization, if any, is ignored.
        images: Network inputs, (S, S, 3) float32, 0..255.
        on_image: Called after each image.

    Returns:
        The statistics.

    Raises:
        SettingError: There are no images.
    """
    graph = build_onnx(replace(model, quantization=None))
    names = [node.output[0] for node in graph.graph.node[:-1]]
    inputs = {node.output[0].removesuffix("/linear"): names.index(node.input[0]) for node in graph.graph.node if node.op_type == "Conv"}
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    limits, means = [], []
    for pixels in images:
        tensors = session.run(names, {INPUT: pixels[None]})
        limits.append([(tensor.min(), tensor.max()) for tensor in tensors])
        means.append({name: tensors[index].mean(axis=(0, 2, 3)) for name, index in inputs.items()})
        on_image()
    if not limits:
        raise SettingError("there are no images for calibration. Give a folder with a few hundred typical JPEGs.")
    lows, highs = np.array(limits, np.float64).transpose(2, 0, 1)  # (images, tensors) each
    ranges = {name: (float(low), float(high)) for name, low, high in zip(names, lows.min(axis=0), highs.max(axis=0), strict=True)}
    return CalibrationStats(ranges, {name: np.mean([mean[name] for mean in means], axis=0) for name in inputs})
