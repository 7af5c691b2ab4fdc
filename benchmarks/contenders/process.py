"""Run one contender in its own process: load a network, then compute on request.

Usage: python -m benchmarks.contenders.process KIND FOLDER THREADS BATCH, in an environment that has the packages of KIND.
The first line on stdout is JSON: the start-up time, the memory and a checksum of the first result.
Then the process answers each line "N" on stdin with a JSON list of [wall seconds, processor seconds] for N calls.
"matrix product" requires OPENBLAS_NUM_THREADS=THREADS in the environment, which `benchmarks.contenders.arena` sets.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.adapters import ADAPTERS, RIVAL_ADAPTERS
from benchmarks.contenders.readers import READERS
from benchmarks.contenders.subjects import MODEL, sample_images
from benchmarks.contenders.trainers import TRAINERS
from benchmarks.machine import resident_mib, versions

Call = Callable[[], Any]

GEMM_SIDE = 1536
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Environment variable of the thread count. The parent process sets it, because OpenBLAS reads it only when numpy is imported."""
MATRIX_PRODUCT = "matrix product"
CONTENDERS = (*ADAPTERS, MATRIX_PRODUCT)
RIVAL_CONTENDERS = RIVAL_ADAPTERS | {"opencv reader", "tensorflow reader", "keras-hub full"}
"""Contenders that run in the rivals' virtual environment."""
PACKAGES = (
    *("numpy", "pillow", "onnx", "onnxruntime", "opencv-python-headless", "openvino", "ai-edge-litert", "ncnn"),
    *("keras", "keras-hub", "tensorflow", "tensornets"),
)


def matrix_product(threads: int) -> Call:
    """Multiply two float32 matrices of side GEMM_SIDE with numpy's OpenBLAS, which fixes its thread count at import."""
    if os.environ.get(BLAS_THREADS) != str(threads):
        sys.exit(f"{BLAS_THREADS} is {os.environ.get(BLAS_THREADS)}. Set it to {threads} before Python starts.")
    left, right = np.random.default_rng(0).standard_normal((2, GEMM_SIDE, GEMM_SIDE), np.float32)
    product = np.empty_like(left)
    return lambda: np.matmul(left, right, out=product)


def network(name: str, folder: Path, threads: int, batch: int) -> Call:
    """Return a function that runs the network of an adapter on sample images."""
    from weights.formats.safetensors import read_header

    adapter = ADAPTERS[name](folder, threads, batch)
    prepared = adapter.prepare(sample_images(read_header(folder / MODEL).spec, batch))
    return lambda: adapter.logits(adapter.run(prepared))  # making the logits takes no measurable time


def main() -> None:
    """Load the contender, print its facts, then answer requests from stdin."""
    kind, folder, threads, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries that print to stdout now print to stderr
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    started = time.perf_counter()
    run = _load(kind, folder, threads, batch)
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


def _load(kind: str, folder: Path, threads: int, batch: int) -> Call:
    if kind in READERS:
        reader: Call = READERS[kind](folder)
        return reader
    if kind in TRAINERS:
        return TRAINERS[kind]()
    return matrix_product(threads) if kind == MATRIX_PRODUCT else network(kind, folder, threads, batch)


if __name__ == "__main__":
    main()
