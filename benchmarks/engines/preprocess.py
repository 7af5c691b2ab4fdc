"""Compare our preprocessing time of one image, from JPEG bytes to the network's input, with that of other libraries.

python -m benchmarks.engines.preprocess [--size 4000x3000] [--rounds 20]
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contenders.arena import compare_times, interleave
from benchmarks.contenders.readers import READERS, input_size, sample_jpeg
from benchmarks.machine import machine


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="4000x3000", help="size of the image, WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    print(json.dumps(measure(width, height, arguments.rounds)))


def measure(width: int, height: int, rounds: int) -> dict[str, object]:
    """Return the result of the benchmark."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "image.jpg"
        file.write_bytes(sample_jpeg(width, height))
        facts = interleave(tuple(READERS), file, threads=1, batch=1, rounds=rounds)
        size = file.stat().st_size
    return {
        "benchmark": "preprocess",
        "image": f"{width}x{height}",
        "bytes": size,
        "input": input_size(),
        "threads": 1,
        "rounds": rounds,
        "contenders": compare_times(facts, "boxwright reader"),
        "machine": machine(),
        "versions": {package: version for each in facts.values() for package, version in each["versions"].items()},
    }


if __name__ == "__main__":
    main()
