"""The process of one engine in a race (see `race`).

python -m weights.engines.race_worker

It answers each line on stdin with one line of JSON on stdout.

    {"model": ..., ...}   the fields of `race.Job`: load the model, compute once -> input_size, start_seconds, memory_mib
    latency               compute two images in sequence -> seconds of the second call, because the first one warms up the caches
    throughput SECONDS    compute images in parallel calls -> images per second
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.engines import ConcurrentEngine, Engine
from detector.engines.cores import usable_cores
from detector.errors import BoxwrightError
from weights.engines.factory import choose_engine
from weights.engines.options import EngineOptions
from weights.hub.resolve import find_model


def main() -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries that print to stdout now print to stderr
    job = json.loads(sys.stdin.readline())
    try:
        started = time.perf_counter()
        engine, images = _load(job)
        engine(images)
        facts = {"input_size": images.shape[1], "start_seconds": time.perf_counter() - started, "memory_mib": _resident_mib()}
    except BoxwrightError as error:
        replies.write(json.dumps({"error": str(error)}) + "\n")
        return
    replies.write(json.dumps(facts) + "\n")
    for line in sys.stdin:
        request, _, seconds = line.strip().partition(" ")
        reply = _latency(engine, images) if request == "latency" else _throughput(engine, images, float(seconds), job["threads"])
        replies.write(json.dumps(reply) + "\n")


def _load(job: dict[str, object]) -> tuple[Engine, NDArray[np.float32]]:
    threads = job.pop("threads")
    if threads is not None:  # TensorFlow reads these when it is imported
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
    name = job.pop("model")
    options = EngineOptions(**job)  # type: ignore[arg-type]  # `race` writes the same fields
    job["threads"] = threads
    choice = choose_engine(find_model(str(name)), options)
    model = choice.load()
    size = model.spec.input_size
    images = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    return choice.build(model, threads=threads, concurrent_sessions=True), images  # type: ignore[arg-type]  # int or None


def _latency(engine: Engine, images: NDArray[np.float32]) -> float:
    engine(images)
    started = time.perf_counter()
    engine(images)
    return time.perf_counter() - started


def _throughput(engine: Engine, images: NDArray[np.float32], seconds: float, threads: object) -> float:
    calls = int(str(threads or usable_cores())) if isinstance(engine, ConcurrentEngine) else 1
    run = engine.run_concurrently if isinstance(engine, ConcurrentEngine) and calls > 1 else engine
    started = time.perf_counter()

    def work(_: int) -> int:
        count = 0
        while count == 0 or time.perf_counter() - started < seconds:
            run(images)
            count += 1
        return count

    with ThreadPoolExecutor(calls) as pool:
        total = sum(pool.map(work, range(calls)))
    return total / (time.perf_counter() - started)


def _resident_mib() -> float:
    """Return the resident memory of this process in MiB; 0 where /proc does not exist."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    main()
