"""Compare the images per second of full training steps, and of steps that train only the head, with plain Keras and keras-hub.

python -m benchmarks.training.rivals [--rounds 10] [--threads 2] [--contenders "boxwright full" ...]

The contenders (`benchmarks.contenders.trainers`) run interleaved, each in its own process, which is stopped while another computes.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

from benchmarks.contenders.arena import compare_times, interleave, python_of
from benchmarks.contenders.trainers import BATCH, BLOCK, SIDE, TRAINERS
from benchmarks.machine import machine


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--contenders", nargs="+", choices=tuple(TRAINERS))
    arguments = parser.parse_args()
    names = arguments.contenders or [name for name in TRAINERS if Path(python_of(name)).exists()]
    facts = interleave(names, Path(), threads=arguments.threads, batch=BATCH, rounds=arguments.rounds)
    table = compare_times(facts, lambda name: ours(name, names))
    for name, row in table.items():
        row["images_per_second"] = round(1000 * BLOCK * BATCH / statistics.median(facts[name]["ms"]), 1)
        row["speed_up_of_ours"] = round(1 / row["ours_ratio"], 2)
    versions = {package: version for each in facts.values() for package, version in each["versions"].items()}
    shape = {"batch": BATCH, "input": SIDE, "threads": arguments.threads, "rounds": arguments.rounds}
    print(json.dumps({"benchmark": "training_rivals", **shape, "contenders": table, "machine": machine(), "versions": versions}))


def ours(name: str, names: list[str]) -> str:
    """Return our fastest exact contender that trains the same part: the full step in float32, or the head with cached features."""
    best = "boxwright cached head" if name.endswith("head") else "boxwright full"
    return best if best in names else names[0]


if __name__ == "__main__":
    main()
