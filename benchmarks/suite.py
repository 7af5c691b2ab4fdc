"""Every number of docs/performance.md: all benchmarks one after another, a JSON line each on stdout.

python -m benchmarks.suite [--quick] [--only latency startup ...] > runs/bench/results.jsonl

What goes on is told on stderr. A benchmark that fails is named there and the others go on; the exit code is then 1. --quick: a few rounds
of each, to see that they run. Training has a command of its own (benchmarks/training.py): it measures TensorFlow more than us.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from benchmarks.arena import ROOT
from benchmarks.subjects import FOLDER, MODEL, NETWORKS

ROUNDS = {1: 15, 4: 4, 16: 2}
"""By batch: one of 16 photos is an average by itself."""
KINDS = ("latency", "startup", "throughput", "preprocess", "roofline", "options", "memory")


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    failed = 0
    for words in commands(quick=arguments.quick):
        if words[0] in arguments.only:
            failed += not _run(words)
    sys.exit(1 if failed else 0)


def commands(*, quick: bool) -> Iterator[list[str]]:
    """Each benchmark with its options; what most people ask first."""
    yield from _latencies(quick, [(2, 1)])
    served = ("everyday", "everyday-int8", str((FOLDER / "yolov2-voc" / MODEL).relative_to(ROOT)))
    for model in served:
        yield ["startup", *_words({"model": model, "runs": 1 if quick else 5})]
    for model in served:
        yield ["throughput", *_words({"model": model, "rounds": 1 if quick else 5})]
    for size in ("500x375", "4000x3000"):
        yield ["preprocess", *_words({"size": size, "rounds": 3 if quick else 20})]
    for network in ("yolov2-voc", "everyday"):
        yield ["roofline", *_words({"network": network, "rounds": 5 if quick else 30})]
        yield ["options", *_words({"network": network, "rounds": 5 if quick else 30})]
    for network in NETWORKS:
        yield ["memory", *_words({"network": network, "runs": 1 if quick else 2})]
    yield from _latencies(quick, [(threads, batch) for threads in (2, 1) for batch in ROUNDS if (threads, batch) != (2, 1)])


def _latencies(quick: bool, cells: list[tuple[int, int]]) -> Iterator[list[str]]:
    for threads, batch in cells:
        for network in NETWORKS:
            options = {"network": network, "threads": threads, "batch": batch, "rounds": 2 if quick else ROUNDS[batch]}
            yield ["latency", *_words(options)]


def _words(options: Mapping[str, object]) -> list[str]:
    return [str(word) for name, value in options.items() for word in (f"--{name}", value)]


def _run(words: list[str]) -> bool:
    command = [sys.executable, "-m", f"benchmarks.{words[0]}", *words[1:]]
    started = time.monotonic()
    sys.stderr.write(f"{' '.join(words)} ")
    sys.stderr.flush()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    sys.stderr.write(f"{time.monotonic() - started:.0f} s{'' if done.returncode == 0 else f', FAILED with code {done.returncode}'}\n")
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    return done.returncode == 0


if __name__ == "__main__":
    main()
