"""Average precision of a network in every library and precision, on the same images and with the same post-processing.

python -m benchmarks.engines.accuracy --data DATASET [--set val] [--network everyday] [--contenders "tflite int8" ...]

Speeds are only comparable at equal accuracy. Each contender runs in its own environment. TensorFlow's converter quantizes `tflite int8`
on the images in the folder BENCH_CALIBRATION, or else on one image. Set the variable before the first run, which writes runs/bench.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.adapters import ADAPTERS, Adapter, precision_of
from benchmarks.contenders.arena import python_of
from benchmarks.contenders.subjects import MODEL, NETWORKS, prepare_network
from benchmarks.engines.latency import fits
from benchmarks.machine import machine
from benchmarks.paths import ROOT
from detector.detector import Detector
from detector.engines import split_anchors
from detector.engines.support import Precision


class AdapterEngine:
    """An adapter as an engine of the detector."""

    def __init__(self, name: str, adapter: Adapter, anchors: int) -> None:
        self.name, self._adapter, self._anchors = name, adapter, anchors
        self.precision: Precision = "float32"

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `detector.engines.Engine`."""
        logits = np.asarray(self._adapter.logits(self._adapter.run(self._adapter.prepare(images))), np.float32)
        return logits if logits.ndim == 5 else split_anchors(logits, self._anchors)


def measure(name: str, folder: Path, data: Path, image_set: str) -> float:
    """Measure one contender in this process and return its AP50."""
    from training.data.voc_reader import read_set
    from training.evaluation.evaluate import evaluate_detector
    from weights.formats.safetensors import read_header

    spec = read_header(folder / MODEL).spec
    engine = AdapterEngine(name, ADAPTERS[name](folder, len(os.sched_getaffinity(0)), 1), len(spec.anchors))
    return float(evaluate_detector(Detector(spec, engine), read_set(data, image_set)).ap50)


def _measure_in_environment(name: str, arguments: argparse.Namespace) -> float | None:
    """Run `measure` in the contender's environment. Return None if it fails; its stderr shows the reason."""
    command = [python_of(name), "-m", "benchmarks.engines.accuracy", "--data", str(arguments.data.resolve()), "--set", arguments.set]
    command += ["--network", arguments.network, "--only", name]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return float(result.stdout.splitlines()[-1]) if result.returncode == 0 else None


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="val")
    parser.add_argument("--network", choices=NETWORKS, default="everyday")
    parser.add_argument("--contenders", nargs="+", choices=tuple(ADAPTERS))
    parser.add_argument("--only", choices=tuple(ADAPTERS), help="measure this contender in this process and print its AP50")
    arguments = parser.parse_args()
    folder = prepare_network(arguments.network)
    if arguments.only:
        print(measure(arguments.only, folder, arguments.data, arguments.set))
        return
    names = arguments.contenders or [name for name in ADAPTERS if fits(name, arguments.network)]
    ap50_by_name = {name: _measure_in_environment(name, arguments) for name in names}
    rows = {name: {"ap50": ap50, "precision": precision_of(name)} for name, ap50 in ap50_by_name.items()}
    setup = {"benchmark": "accuracy", "network": arguments.network, "data": arguments.data.name, "set": arguments.set}
    print(json.dumps(setup | {"contenders": rows, "machine": machine(), "versions": {}}))
    sys.exit(1 if None in ap50_by_name.values() else 0)


if __name__ == "__main__":
    main()
