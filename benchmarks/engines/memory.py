"""Compare the memory of our engine and of rival libraries after a process has loaded a network and processed one image.

python -m benchmarks.engines.memory [--network everyday] [--threads 2] [--runs 3]
"""

import argparse
import json
import os
import statistics
import sys

from benchmarks.contenders.arena import ContenderFailedError, contender
from benchmarks.contenders.process import CONTENDERS, MATRIX_PRODUCT
from benchmarks.contenders.subjects import NETWORKS, prepare_network
from benchmarks.engines.latency import fits
from benchmarks.machine import machine


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="yolov2-voc")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.network, arguments.threads, arguments.runs)))


def measure(network: str, threads: int, runs: int) -> dict[str, object]:
    """Return the result of the benchmark. "seconds" counts from the import of a contender's packages to its first result."""
    folder = prepare_network(network)
    names = [name for name in CONTENDERS if name != MATRIX_PRODUCT and fits(name, network)]
    measurements: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    versions: dict[str, str] = {}
    for _ in range(runs):
        for name in names:  # sequential, because parallel processes would share pages of memory
            try:
                with contender(name, folder, threads, 1) as loaded:
                    measurements[name].append({key: loaded.facts[key] for key in ("resident_mib", "peak_mib", "seconds")})
                    versions |= loaded.facts["versions"]
            except ContenderFailedError as error:
                sys.stderr.write(f"{error}\n")
    medians = {
        name: {key: round(statistics.median(run[key] for run in each), 2) for key in each[0]} for name, each in measurements.items() if each
    }
    ours = medians["boxwright"]["resident_mib"]
    table = {name: row | {"ours_ratio": round(ours / row["resident_mib"], 3)} for name, row in medians.items()}
    return {
        "benchmark": "memory",
        "network": network,
        "threads": threads,
        "runs": runs,
        "contenders": table,
        "machine": machine(),
        "versions": versions,
    }


if __name__ == "__main__":
    main()
