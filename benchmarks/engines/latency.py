"""Compare a network's latency in our engine and in rival libraries, and its arithmetic rate with that of a matrix product.

python -m benchmarks.engines.latency [--network everyday] [--threads 2] [--batch 1] [--rounds 20]
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.contenders.adapters import ADAPTERS, counterpart, precision_of
from benchmarks.contenders.arena import compare_times, interleave, python_of
from benchmarks.contenders.process import CONTENDERS, GEMM_SIDE, MATRIX_PRODUCT
from benchmarks.contenders.subjects import MODEL, NETWORKS, prepare_network
from benchmarks.machine import machine
from detector.engines.cores import has_bfloat16
from detector.network.shapes import operations
from weights.formats.safetensors import read_header

SAME_OUTPUT = 1e-3  # maximum relative difference between the sums of squares of equal outputs


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="yolov2-voc")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="list boxwright first; default: all")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "int8"), help="only the contenders with this precision")
    arguments = parser.parse_args()
    names = arguments.contenders or [name for name in CONTENDERS if fits(name, arguments.network) and _chosen(name, arguments.precision)]
    print(json.dumps(measure(names, arguments.network, arguments.threads, arguments.batch, arguments.rounds)))


def fits(name: str, network: str) -> bool:
    """Return whether the contender supports the network and the processor, and its environment exists.

    tensornets does not support the architecture of `everyday`.
    """
    if (name == "tensornets" and network == "everyday") or (precision_of(name) == "bfloat16" and not has_bfloat16()):
        return False
    return Path(python_of(name)).exists()


def _chosen(name: str, precision: str | None) -> bool:
    return precision is None or precision_of(name) == precision


def measure(names: list[str], network: str, threads: int, batch: int, rounds: int) -> dict[str, object]:
    """Return the result of the benchmark."""
    folder = prepare_network(network)
    facts = interleave(names, folder, threads=threads, batch=batch, rounds=rounds)
    spec = read_header(folder / MODEL).spec
    work = operations(spec.network, spec.input_size) * batch / 1e9  # GFLOP
    table = compare_times(facts, lambda name: counterpart(name) if counterpart(name) in facts else names[0])
    for name, row in table.items():
        gflop = 2 * GEMM_SIDE**3 / 1e9 if name == MATRIX_PRODUCT else work
        row["gflops"] = round(gflop / row["ms_median"] * 1000, 1)
    if MATRIX_PRODUCT in table:
        for name, row in table.items():
            pairs = zip(facts[name]["ms"], facts[MATRIX_PRODUCT]["ms"], strict=True)
            shares = sorted((work / ms) / (2 * GEMM_SIDE**3 / 1e9 / product) for ms, product in pairs)
            row["of_matrix_product"] = round(shares[len(shares) // 2], 3)
        del table[MATRIX_PRODUCT]["of_matrix_product"]
    return {
        "benchmark": "latency",
        "network": network,
        "input": spec.input_size,
        "gflop": round(work, 2),
        "threads": threads,
        "batch": batch,
        "rounds": rounds,
        "contenders": table,
        "other_output": _different_output(facts, names[0]),
        "machine": machine(),
        "versions": {package: version for each in facts.values() for package, version in each["versions"].items()},
    }


def _different_output(facts: dict[str, dict[str, Any]], ours: str) -> list[str]:
    """Return the contenders with another sum of squared outputs than ours. The sum hardly depends on the order of a reorg."""
    energy = {name: each["squares"] for name, each in facts.items() if name in ADAPTERS and precision_of(name) == "float32"}
    if ours not in energy:  # all chosen contenders have reduced precision
        return []
    return [name for name, each in energy.items() if abs(each - energy[ours]) > SAME_OUTPUT * energy[ours]]


if __name__ == "__main__":
    main()
