"""Measure whether larger batches lower the network's time per image on this machine.

python -m benchmarks.engines.batching [--model NAME_OR_FILE] [--batches 1 2 4 8] [--rounds 15]

Each round runs every batch size once, so that other load on the machine affects all sizes alike.
"""

import argparse
import json
import statistics
import time

import numpy as np

from benchmarks.machine import machine, versions
from cli.output.progress import load_named_model
from detector.engines import Engine
from weights.engines.factory import build_engine


def seconds_per_image(engine: Engine, size: int, batches: list[int], rounds: int) -> dict[int, float]:
    """Return the median seconds per image by batch size."""
    images = np.random.default_rng(1).uniform(0, 255, (max(batches), size, size, 3)).astype(np.float32)
    times: dict[int, list[float]] = {batch: [] for batch in batches}
    for round_number in range(rounds + 2):  # the first two warm up
        for batch in batches:
            started = time.perf_counter()
            engine(images[:batch])
            if round_number >= 2:
                times[batch].append((time.perf_counter() - started) / batch)
    return {batch: statistics.median(times[batch]) for batch in batches}


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    model = load_named_model(arguments.model)
    seconds = seconds_per_image(build_engine(model, "onnxruntime"), model.spec.input_size, arguments.batches, arguments.rounds)
    baseline = seconds[arguments.batches[0]]
    result = {
        "benchmark": "batching",
        "model": model.name,
        "input_size": model.spec.input_size,
        "rounds": arguments.rounds,
        "ms_per_image": {batch: round(1000 * median, 2) for batch, median in seconds.items()},
        "throughput_ratio": {batch: round(baseline / median, 3) for batch, median in seconds.items()},
        "machine": machine(),
        "versions": versions(("onnxruntime", "numpy")),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
