"""What numbers come up between a model's layers on real photos: the ranges that its 8 bits are laid over."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime

from detector.engines.cores import usable_cores
from detector.errors import SettingError
from detector.onnx_model import INPUT, build_onnx
from detector.placement import Pixels
from detector.quantization import Range
from detector.spec import Model


def calibrate(model: Model, photos: Iterable[Pixels], *, advance: Callable[[], object] = lambda: None) -> dict[str, Range]:
    """Photos as the network reads them, (S, S, 3) float32, 0..255 -> the range of every tensor of its float32 graph, by name.

    A range is the mean of the photos' own ones (as the moving average of Jacob et al., section 3.1): a single photo with a strange
    corner does not coarsen all others. `advance` is called after each photo. Raises SettingError without photos.
    """
    graph = build_onnx(replace(model, quantization=None))
    names = [node.output[0] for node in graph.graph.node[:-1]]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen = []
    for pixels in photos:
        tensors = session.run(names, {INPUT: pixels[None]})
        seen.append([(tensor.min(), tensor.max()) for tensor in tensors])
        advance()
    if not seen:
        raise SettingError("there are no photos to calibrate on; give a folder with some hundred JPEGs like those the model will see.")
    lows, highs = np.array(seen, np.float64).mean(axis=0).T
    return {name: (float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}
