"""Run the benchmarks of `make bench` in sequence and print one JSON line for each.

python -m benchmarks.suite [--quick] [--only latency startup ...] > runs/bench/results.jsonl

Progress goes to stderr. If a benchmark fails, the others still run, and the exit code is 1.
--quick: Run only a few rounds of each benchmark, to check that it works.
Training has a separate command, benchmarks.training.speed, because its speed is mostly that of TensorFlow.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from benchmarks.contenders.subjects import FOLDER, MODEL, NETWORKS
from benchmarks.paths import ROOT

ROUNDS_BY_BATCH = {1: 30, 4: 5, 16: 3}
"""Rounds by batch size. A large batch needs few rounds, because its time is already an average over many images."""
MODULES = {
    "latency": "engines.latency",
    "startup": "service.startup",
    "throughput": "service.throughput",
    "preprocess": "engines.preprocess",
    "roofline": "engines.roofline",
    "options": "engines.options",
    "memory": "engines.memory",
}


def main() -> None:
    """Run the chosen benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=MODULES, default=MODULES)
    arguments = parser.parse_args()
    failed = 0
    for command_line in commands(quick=arguments.quick):
        if command_line[0] in arguments.only:
            failed += not _run(command_line)
    sys.exit(1 if failed else 0)


def commands(*, quick: bool) -> Iterator[list[str]]:
    """Yield each benchmark with its options, the most important ones first."""
    yield from _latencies(quick, [(2, 1)])
    served = ("everyday", "everyday-int8", str((FOLDER / "yolov2-voc" / MODEL).relative_to(ROOT)))
    for model in served:
        precision = "int8" if model.endswith("int8") else "float32"
        yield ["startup", *_options({"model": model, "precision": precision, "runs": 1 if quick else 5})]
    for model in served:
        yield ["throughput", *_options({"model": model, "rounds": 1 if quick else 5})]
    for size in ("500x375", "4000x3000"):
        yield ["preprocess", *_options({"size": size, "rounds": 3 if quick else 20})]
    for network in ("yolov2-voc", "everyday"):
        yield ["roofline", *_options({"network": network, "rounds": 5 if quick else 30})]
        yield ["options", *_options({"network": network, "rounds": 5 if quick else 30})]
    for network in NETWORKS:
        yield ["memory", *_options({"network": network, "runs": 1 if quick else 2})]
    yield from _latencies(quick, [(threads, batch) for threads in (2, 1) for batch in ROUNDS_BY_BATCH if (threads, batch) != (2, 1)])


def _latencies(quick: bool, cells: list[tuple[int, int]]) -> Iterator[list[str]]:
    for threads, batch in cells:
        for network in NETWORKS:
            options = {"network": network, "threads": threads, "batch": batch, "rounds": 2 if quick else ROUNDS_BY_BATCH[batch]}
            yield ["latency", *_options(options)]


def _options(options: Mapping[str, object]) -> list[str]:
    return [str(text) for name, value in options.items() for text in (f"--{name}", value)]


def _run(command_line: list[str]) -> bool:
    command = [sys.executable, "-m", f"benchmarks.{MODULES[command_line[0]]}", *command_line[1:]]
    started = time.monotonic()
    sys.stderr.write(f"{' '.join(command_line)} ")
    sys.stderr.flush()
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    sys.stderr.write(f"{time.monotonic() - started:.0f} s{'' if result.returncode == 0 else f', FAILED with code {result.returncode}'}\n")
    sys.stdout.write(result.stdout)
    sys.stdout.flush()
    return result.returncode == 0


if __name__ == "__main__":
    main()
