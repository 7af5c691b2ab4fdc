"""Run one contender in its own process: load a network, then compute on request.

Usage: python -m benchmarks.contenders KIND FOLDER THREADS BATCH, in an environment that has the packages of KIND.
The first line on stdout is JSON: the start-up time, the memory and a checksum of the first result.
Then each line "N" on stdin is answered by a JSON list with [wall seconds, processor seconds] of N calls.
`matrix product` requires OPENBLAS_NUM_THREADS=THREADS in the environment, which `benchmarks.arena` sets.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import resident_mib, versions
from benchmarks.readers import READERS
from benchmarks.subjects import CFG, INT8, MODEL, ONNX, WEIGHTS, photos

Run = Callable[[], Any]
Load = Callable[[Path, int, int], Run]
"""(folder, threads, batch) -> function that runs the network on the photos and returns logits in any layout."""

GEMM_SIDE = 1536
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Environment variable of the thread count. The parent process sets it, because OpenBLAS reads it only when numpy is imported."""


def boxwright(folder: Path, threads: int, batch: int, *, name: str = MODEL) -> Run:
    """Run our engine with the settings of `boxwright serve`."""
    from detector.engines.onnxruntime import OnnxEngine
    from weights.formats.safetensors import load_model

    model = load_model(folder / name)
    engine, images = OnnxEngine.of(model, threads=threads), photos(model.spec, batch)
    del model
    return lambda: engine(images)


def boxwright_int8(folder: Path, threads: int, batch: int) -> Run:
    """Run the same network, quantized to 8 bits."""
    return boxwright(folder, threads, batch, name=INT8)


def onnxruntime(folder: Path, threads: int, batch: int) -> Run:
    """Run the exported ONNX file in onnxruntime with its default options."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(folder / ONNX), options, providers=["CPUExecutionProvider"])
    images = _photos(folder, batch)
    return lambda: session.run(None, {"images": images})[0]


def opencv(folder: Path, threads: int, batch: int) -> Run:
    """Run the Darknet files in cv2.dnn."""
    import cv2

    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromDarknet(str(folder / CFG), str(folder / WEIGHTS))
    network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    blob = _scaled(folder, batch).transpose(0, 3, 1, 2).copy()  # must stay referenced, because setInput does not copy it

    def run() -> Any:
        network.setInput(blob)
        return network.forward(network.getLayerNames()[-2])  # the last convolution; the region layer after it decodes

    return run


def openvino(folder: Path, threads: int, batch: int) -> Run:
    """Run the exported ONNX file in OpenVINO in float32, tuned for latency."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(str(folder / ONNX))
    images = _photos(folder, batch)
    model.reshape({model.inputs[0]: list(images.shape)})
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: next(iter(request.infer({0: images}).values()))


def tensorflow(folder: Path, threads: int, batch: int) -> Run:
    """Run the Keras model as a frozen graph, with Grappler's optimisations and oneDNN."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from detector.keras_model import build_keras
    from weights.formats.safetensors import load_model

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    images = tf.constant(_photos(folder, batch))
    network = build_keras(load_model(folder / MODEL))
    called = tf.function(lambda x: network(x, training=False)).get_concrete_function(tf.TensorSpec(images.shape, tf.float32))
    frozen = convert_variables_to_constants_v2(called)
    return lambda: frozen(images)[0].numpy()


def tensornets(folder: Path, _threads: int, batch: int) -> Run:
    """Run tensornets' own graph with our arrays. TensorFlow uses one thread per core of the process."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    from dataclasses import replace

    from detector.network import Reorg
    from weights.formats.safetensors import load_model
    from weights.formats.tensornets.engine import TensornetsEngine

    model = load_model(folder / MODEL)
    layers = tuple(replace(layer, order="space-to-depth") if isinstance(layer, Reorg) else layer for layer in model.spec.network)
    engine = TensornetsEngine.of(replace(model, spec=replace(model.spec, network=layers)))  # tensornets supports no other order
    images = photos(model.spec, batch)
    return lambda: engine(images)


def matrix_product(_folder: Path, threads: int, _batch: int) -> Run:
    """Multiply two float32 matrices of side GEMM_SIDE with numpy's OpenBLAS, which fixes its thread count at import."""
    if os.environ.get(BLAS_THREADS) != str(threads):
        sys.exit(f"{BLAS_THREADS} is {os.environ.get(BLAS_THREADS)}. Set it to {threads} before Python starts.")
    one, other = np.random.default_rng(0).standard_normal((2, GEMM_SIDE, GEMM_SIDE), np.float32)
    product = np.empty_like(one)
    return lambda: np.matmul(one, other, out=product)


CONTENDERS: dict[str, Load] = {
    "boxwright": boxwright,
    "boxwright int8": boxwright_int8,
    "onnxruntime": onnxruntime,
    "opencv": opencv,
    "openvino": openvino,
    "tensorflow": tensorflow,
    "tensornets": tensornets,
    "matrix product": matrix_product,
}
RIVALS = frozenset(("opencv", "openvino", "tensorflow", "tensornets", "opencv reader", "tensorflow reader"))
"""Contenders that run in the virtual environment of the rivals."""
PACKAGES = ("numpy", "pillow", "onnx", "onnxruntime", "opencv-python-headless", "openvino", "tensorflow", "tensornets")


def _photos(folder: Path, batch: int) -> Any:
    from weights.formats.safetensors import read_header

    return photos(read_header(folder / MODEL).spec, batch)


def _scaled(folder: Path, batch: int) -> Any:
    from weights.formats.safetensors import read_header

    spec = read_header(folder / MODEL).spec
    return photos(spec, batch) * np.float32(1 / 255)


def main() -> None:
    """Load the contender, print its facts, then answer requests from stdin."""
    kind, folder, threads, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # redirects what libraries print to stderr
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    started = time.perf_counter()
    run = READERS[kind](folder) if kind in READERS else CONTENDERS[kind](folder, threads, batch)
    output = np.asarray(run(), np.float64)
    facts = {"seconds": time.perf_counter() - started, "resident_mib": resident_mib(), "peak_mib": resident_mib(field="VmHWM")}
    moments = {"sum": float(output.sum()), "squares": float((output**2).sum())}
    replies.write(json.dumps(facts | moments | {"versions": versions(PACKAGES)}) + "\n")
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            wall, processor = time.perf_counter(), time.process_time()
            run()
            seconds.append((time.perf_counter() - wall, time.process_time() - processor))
        replies.write(json.dumps(seconds) + "\n")


if __name__ == "__main__":
    main()
