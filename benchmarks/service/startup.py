"""Measure the time from the start of a `boxwright serve` process until /readyz answers 200, and its memory at that moment.

python -m benchmarks.service.startup [--model NAME_OR_FILE] [--precision auto] [--runs 5]

Each run has a new cache folder. The first start builds the engine ("cold", although the model file is in the page cache).
The second start loads the engine from the cache folder ("cached"). Other load affects cpu_seconds less than seconds.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.machine import machine, versions
from benchmarks.service.load_client import serving

PACKAGES = ("fastapi", "numpy", "onnx", "onnxruntime", "pillow", "pydantic", "uvicorn")
CACHE_TIMEOUT = 120  # maximum seconds until the engine is in the cache


class Start(NamedTuple):
    """Measurements when /readyz first answers 200."""

    seconds: float
    cpu_seconds: float
    resident_mib: float


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--precision", default="auto", help="as for boxwright serve")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.model, arguments.precision, arguments.runs)))


def measure(model: str, precision: str, runs: int) -> dict[str, object]:
    """Return the result of the benchmark."""
    starts: dict[str, list[Start]] = {"cold": [], "cached": []}
    for _ in range(runs):
        with TemporaryDirectory() as home:
            with _started(model, precision, home) as cold:
                starts["cold"].append(cold)
                _wait_until_cached(Path(home))
            with _started(model, precision, home) as cached:
                starts["cached"].append(cached)
    return {
        "benchmark": "startup",
        "model": _name(model),
        "runs": runs,
        **{kind: _summary(each) for kind, each in starts.items()},
        "machine": machine(),
        "versions": versions(PACKAGES),
    }


def _name(model: str) -> str:
    path = Path(model)
    return path.parent.name if path.stem == "model" else path.stem


def _summary(starts: list[Start]) -> dict[str, float]:
    medians = {f"{field}_median": round(statistics.median(getattr(start, field) for start in starts), 3) for field in Start._fields}
    return medians | {
        "seconds_min": round(min(start.seconds for start in starts), 3),
        "seconds_max": round(max(start.seconds for start in starts), 3),
    }


@contextmanager
def _started(model: str, precision: str, home: str) -> Iterator[Start]:
    """Start a service, wait until it is ready, and yield the measurements."""
    started = time.perf_counter()
    with serving(model, [f"precision={precision}"], {"BOXWRIGHT_HOME": home}) as server:
        yield Start(time.perf_counter() - started, server.cpu_seconds(), server.resident())


def _wait_until_cached(home: Path) -> None:
    end = time.monotonic() + CACHE_TIMEOUT
    while all(entry.name.startswith(".") for entry in (home / "engines").glob("*")):
        if time.monotonic() > end:
            sys.exit(f"the service cached no engine within {CACHE_TIMEOUT} seconds.")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
