"""One contender in a process of its own: it loads a network, and computes when it is told to.

python -m benchmarks.contenders KIND FOLDER THREADS BATCH, in an environment that has what KIND needs. On stdout: a JSON line with what
was loaded and its first answer; then, for each line "N" on stdin, a JSON list of [seconds, seconds of processor time] of N calls.
`matrix product` wants OPENBLAS_NUM_THREADS=THREADS in the environment; `benchmarks.arena` sees to it.
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
"""(folder, threads, batch) -> what computes the photos; its answer is logits, in any layout."""

GEMM_SIDE = 1536
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""The variable that whoever starts a contender sets: OpenBLAS reads it once, when numpy is imported."""


def boxwright(folder: Path, threads: int, batch: int, *, name: str = MODEL) -> Run:
    """Our engine, as `boxwright serve` has it."""
    from detector.engines.onnxruntime import OnnxEngine
    from weights.formats.safetensors import load_model

    model = load_model(folder / name)
    engine, images = OnnxEngine.of(model, threads=threads), photos(model.spec, batch)
    del model
    return lambda: engine(images)


def boxwright_int8(folder: Path, threads: int, batch: int) -> Run:
    """The same network in 8 bits."""
    return boxwright(folder, threads, batch, name=INT8)


def onnxruntime(folder: Path, threads: int, batch: int) -> Run:
    """The exported file in onnxruntime, with its defaults."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(folder / ONNX), options, providers=["CPUExecutionProvider"])
    images = _photos(folder, batch)
    return lambda: session.run(None, {"images": images})[0]


def opencv(folder: Path, threads: int, batch: int) -> Run:
    """cv2.dnn with the Darknet files."""
    import cv2

    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromDarknet(str(folder / CFG), str(folder / WEIGHTS))
    network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    blob = _scaled(folder, batch).transpose(0, 3, 1, 2).copy()  # kept: setInput does not copy it

    def run() -> Any:
        network.setInput(blob)
        return network.forward(network.getLayerNames()[-2])  # the last convolution; the region layer after it decodes

    return run


def openvino(folder: Path, threads: int, batch: int) -> Run:
    """The exported ONNX file in OpenVINO, float32, tuned for latency."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(str(folder / ONNX))
    images = _photos(folder, batch)
    model.reshape({model.inputs[0]: list(images.shape)})
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: next(iter(request.infer({0: images}).values()))


def tensorflow(folder: Path, threads: int, batch: int) -> Run:
    """The Keras model as a frozen graph: variables made constants, Grappler's optimisations, oneDNN."""
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
    """Tensornets' own graph with our arrays; TensorFlow takes as many threads as the process may use cores."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    from dataclasses import replace

    from detector.network import Reorg
    from weights.formats.safetensors import load_model
    from weights.formats.tensornets.engine import TensornetsEngine

    model = load_model(folder / MODEL)
    layers = tuple(replace(layer, order="space-to-depth") if isinstance(layer, Reorg) else layer for layer in model.spec.network)
    engine = TensornetsEngine.of(replace(model, spec=replace(model.spec, network=layers)))  # it has no other order
    images = photos(model.spec, batch)
    return lambda: engine(images)


def matrix_product(_folder: Path, threads: int, _batch: int) -> Run:
    """A float32 matrix product of GEMM_SIDE squared by numpy's OpenBLAS, whose threads were counted out when numpy was imported."""
    if os.environ.get(BLAS_THREADS) != str(threads):
        sys.exit(f"{BLAS_THREADS} must be {threads} before Python starts, got {os.environ.get(BLAS_THREADS)}.")
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
"""Those that run in the rivals' environment."""
PACKAGES = ("numpy", "pillow", "onnx", "onnxruntime", "opencv-python-headless", "openvino", "tensorflow", "tensornets")


def _photos(folder: Path, batch: int) -> Any:
    from weights.formats.safetensors import read_header

    return photos(read_header(folder / MODEL).spec, batch)


def _scaled(folder: Path, batch: int) -> Any:
    from weights.formats.safetensors import read_header

    spec = read_header(folder / MODEL).spec
    return photos(spec, batch) * np.float32(1 / 255)


def main() -> None:
    """Load, say so, and obey."""
    kind, folder, threads, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to stderr
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    started = time.perf_counter()
    run = READERS[kind](folder) if kind in READERS else CONTENDERS[kind](folder, threads, batch)
    answer = np.asarray(run(), np.float64)
    facts = {"seconds": time.perf_counter() - started, "resident_mib": resident_mib(), "peak_mib": resident_mib(field="VmHWM")}
    moments = {"sum": float(answer.sum()), "squares": float((answer**2).sum())}
    told.write(json.dumps(facts | moments | {"versions": versions(PACKAGES)}) + "\n")
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            before, busy = time.perf_counter(), time.process_time()
            run()
            seconds.append((time.perf_counter() - before, time.process_time() - busy))
        told.write(json.dumps(seconds) + "\n")


if __name__ == "__main__":
    main()
