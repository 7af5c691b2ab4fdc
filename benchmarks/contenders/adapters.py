"""One adapter per library that the benchmarks compare, all with the same interface.

An adapter takes the network's files (`benchmarks.contenders.subjects`), a number of threads and a batch size. Only `run` is timed.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.subjects import CFG, INT8, INT8_ONNX, MODEL, NCNN_BIN, NCNN_PARAM, ONNX, TFLITE, TFLITE_INT8, WEIGHTS

Images = NDArray[np.float32]
"""(N, S, S, 3), 0..255."""


def _unchanged(value: Any) -> Any:
    return value


def _channels_last(output: Any) -> NDArray[np.float32]:
    """(N, C, G, G) -> (N, G, G, C)."""
    return np.asarray(output).transpose(0, 2, 3, 1)


class Adapter(NamedTuple):
    """A loaded network."""

    run: Callable[[Any], Any]
    prepare: Callable[[Images], Any] = _unchanged  # images -> input of `run`
    logits: Callable[[Any], NDArray[np.float32]] = np.asarray  # output of `run` -> (N, G, G, A * (5 + C)), or with a separate axis A


LoadAdapter = Callable[[Path, int, int], Adapter]
"""(folder, threads, batch) -> the network."""


def boxwright(folder: Path, threads: int, _batch: int, *, file: str = MODEL, precision: str = "float32") -> Adapter:
    """Run the engine that `boxwright serve --precision PRECISION` uses after it has compared the engines."""
    from weights.engines.factory import possible_choices
    from weights.engines.options import EngineOptions
    from weights.engines.race import race_and_store
    from weights.hub.resolve import ModelSource

    choices = possible_choices(ModelSource(folder / file), EngineOptions(precision=precision))  # type: ignore[arg-type]  # a Literal
    choice = (race_and_store(choices) if len(choices) > 1 else None) or choices[0]
    return Adapter(choice.build(choice.load(), threads=threads))


def onnxruntime(folder: Path, threads: int, _batch: int, *, file: str = ONNX) -> Adapter:
    """Run the exported ONNX file in onnxruntime with its default options."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
    return Adapter(lambda images: session.run(None, {"images": images})[0])


def openvino(folder: Path, threads: int, batch: int, *, file: str = ONNX, hint: str = "f32") -> Adapter:
    """Run the exported ONNX file in OpenVINO, tuned for latency. Without the hint, it would compute in bfloat16 if possible."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(str(folder / file))
    model.reshape({model.inputs[0]: [batch, *[each.get_length() for each in list(model.inputs[0].partial_shape)[1:]]]})
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return Adapter(lambda images: next(iter(request.infer({0: images}).values())))


def tflite(folder: Path, threads: int, _batch: int, *, file: str = TFLITE) -> Adapter:
    """Run a TFLite file in LiteRT, which uses XNNPACK. The file has a fixed batch size of one, so images run one at a time."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / file), num_threads=threads)
    interpreter.allocate_tensors()
    first, last = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(images: Images) -> list[Any]:
        outputs = []
        for image in images:
            interpreter.set_tensor(first, image[None])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(last)[0])
        return outputs

    return Adapter(run, logits=np.stack)


def opencv(folder: Path, threads: int, _batch: int) -> Adapter:
    """Run the Darknet files in cv2.dnn of OpenCV 4. OpenCV 5 has no Darknet importer."""
    import cv2

    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromDarknet(str(folder / CFG), str(folder / WEIGHTS))
    network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    last = network.getLayerNames()[-2]  # the last convolution; the region layer after it decodes

    def run(blob: Any) -> Any:
        network.setInput(blob)  # does not copy the blob, which `benchmarks.contenders.process` keeps
        return network.forward(last)

    return Adapter(run, lambda images: (images * np.float32(1 / 255)).transpose(0, 3, 1, 2).copy(), _channels_last)


def opencv_onnx(folder: Path, threads: int, batch: int) -> Adapter:
    """Run the exported ONNX file in the environment's cv2.dnn. OpenCV 4 requires a fixed batch size."""
    import cv2
    import onnx

    cv2.setNumThreads(threads)
    graph = onnx.load(str(folder / ONNX))
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    network = cv2.dnn.readNetFromONNX(np.frombuffer(graph.SerializeToString(), np.uint8))

    def run(images: Images) -> Any:
        network.setInput(images)
        return network.forward()

    return Adapter(run)


def ncnn(folder: Path, threads: int, _batch: int) -> Adapter:
    """Run the files of ncnn's converter in exact float32. ncnn has no batches, so images run one at a time."""
    import ncnn as library

    network = library.Net()
    network.opt.num_threads = threads
    for name in ("use_vulkan_compute", "use_fp16_storage", "use_fp16_packed", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(network.opt, name, False)
    network.load_param(str(folder / NCNN_PARAM))
    network.load_model(str(folder / NCNN_BIN))

    def run(mats: list[Any]) -> list[Any]:
        outputs = []
        for mat in mats:
            extractor = network.create_extractor()
            extractor.input("in0", mat)
            outputs.append(extractor.extract("out0")[1])
        return outputs

    return Adapter(run, lambda images: [library.Mat(image).clone() for image in images], lambda mats: np.stack([np.array(m) for m in mats]))


def tensorflow(folder: Path, threads: int, batch: int) -> Adapter:
    """Run the Keras model as a frozen graph, with Grappler's optimisations and oneDNN."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from detector.network.keras_model import build_keras
    from weights.formats.safetensors import load_model

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = load_model(folder / MODEL)
    network, side = build_keras(model), model.spec.input_size
    signature = tf.TensorSpec((batch, side, side, 3), tf.float32)
    frozen = convert_variables_to_constants_v2(tf.function(lambda x: network(x, training=False)).get_concrete_function(signature))
    return Adapter(lambda images: frozen(images)[0].numpy(), tf.constant)


def tensornets(folder: Path, _threads: int, _batch: int) -> Adapter:
    """Run tensornets' own graph with our arrays. TensorFlow uses one thread per core of the process."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    from dataclasses import replace

    from detector.network.layers import Reorg
    from weights.formats.safetensors import load_model
    from weights.formats.tensornets.engine import TensornetsEngine

    model = load_model(folder / MODEL)
    layers = tuple(replace(layer, order="space-to-depth") if isinstance(layer, Reorg) else layer for layer in model.spec.network)
    return Adapter(TensornetsEngine.of(replace(model, spec=replace(model.spec, network=layers))))  # tensornets supports no other order


OPENCV_5 = "opencv 5 onnx"
"""The adapter that runs in a separate environment, because OpenCV 5 cannot be installed together with OpenCV 4."""
ADAPTERS: dict[str, LoadAdapter] = {
    "boxwright": boxwright,
    "boxwright bfloat16": partial(boxwright, precision="bfloat16"),
    "boxwright int8": partial(boxwright, file=INT8, precision="int8"),
    "onnxruntime": onnxruntime,
    "onnxruntime int8": partial(onnxruntime, file=INT8_ONNX),
    "opencv": opencv,
    "opencv onnx": opencv_onnx,
    OPENCV_5: opencv_onnx,
    "openvino": openvino,
    "openvino bfloat16": partial(openvino, hint="bf16"),  # OpenVINO's default on a processor with bfloat16
    "openvino int8": partial(openvino, file=INT8_ONNX),
    "tflite": tflite,
    "tflite int8": partial(tflite, file=TFLITE_INT8),
    "ncnn": ncnn,
    "tensorflow": tensorflow,
    "tensornets": tensornets,
}
RIVAL_ADAPTERS = frozenset(
    name for name in ADAPTERS if name.split()[0] in ("opencv", "openvino", "tflite", "ncnn", "tensorflow", "tensornets")
)
"""Adapters that run in the rivals' virtual environment, except OPENCV_5."""


def precision_of(name: str) -> str:
    """Return the precision of a contender: "float32", "bfloat16" or "int8"."""
    last = name.rpartition(" ")[2]
    return last if last in ("bfloat16", "int8") else "float32"


def counterpart(name: str) -> str:
    """Return our contender with the precision of `name`."""
    precision = precision_of(name)
    return "boxwright" if precision == "float32" else f"boxwright {precision}"
