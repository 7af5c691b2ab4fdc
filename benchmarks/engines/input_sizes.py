"""Measure AP50 and latency of models over the input size, for the model card.

python -m benchmarks.engines.input_sizes DATA MODEL [MODEL ...] [--sizes 224,256,288,320,384,448,512] [--rounds 30] [--plot FILE.png]

Print one JSON line per model and size. AP50 is measured on the validation set of DATA. Latency is the median time of the network for one
image on two threads. Each round measures all models and sizes, so that other load affects all of them alike.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detector.detector import Detector
from detector.engines import load_engine
from detector.network.spec import Model
from training.data.voc_reader import Sample, read_set
from training.evaluation.evaluate import evaluate_detector
from weights.hub.resolve import resolve_model

SIZES = "224,256,288,320,384,448,512"


def accuracy(model: Model, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return AP50 over all classes, over the classes with at least 19 boxes, and by class."""
    evaluation = evaluate_detector(Detector(model.spec, load_engine(model)), samples)
    by_class = {label: round(result.ap, 3) for label, result in evaluation.classes.items()}
    return {"ap50": round(evaluation.ap50, 4), "ap50_frequent": round(evaluation.ap50_frequent, 4), "ap50_by_class": by_class}


def median_latencies(models: Sequence[Model], rounds: int) -> list[float]:
    """Return the median milliseconds of each model's network for one image."""
    engines = [load_engine(model, threads=2) for model in models]
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(0, 255, (1, model.spec.input_size, model.spec.input_size, 3)).astype(np.float32) for model in models]
    times: list[list[float]] = [[] for _ in models]
    for _ in range(rounds + 1):
        for engine, images, measured in zip(engines, inputs, times, strict=True):
            engine(images)  # warms up the caches after the other models
            started = time.perf_counter()
            engine(images)
            measured.append(1000 * (time.perf_counter() - started))
    return [statistics.median(each[1:]) for each in times]


def plot_sizes(rows: Sequence[dict[str, Any]], plot_file: Path) -> None:
    """Plot AP50 over latency, one line per model, with the input sizes at the points."""
    from matplotlib.figure import Figure

    from training.plotting import COLOURS, save_png

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="milliseconds per image, network only, two threads", ylabel="AP50")
    for name, colour in zip(dict.fromkeys(row["model"] for row in rows), COLOURS, strict=False):
        points = [(row["milliseconds"], row["ap50"], row["input_size"]) for row in rows if row["model"] == name]
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "o-", color=colour, label=name)
        for x, y, size in points:
            axes.annotate(str(size), (x, y), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend()
    save_png(figure, plot_file)


def main() -> None:
    """Print the measurements and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    samples = read_set(options.data, "val")
    models = [resolve_model(name).at_input_size(int(size)) for name in options.models for size in options.sizes.split(",")]
    rows = []
    for model, milliseconds in zip(models, median_latencies(models, options.rounds), strict=True):
        facts = {"model": model.name, "input_size": model.spec.input_size, "milliseconds": round(milliseconds, 2)}
        rows.append(facts | accuracy(model, samples))
        print(json.dumps(rows[-1]), flush=True)
    if options.plot:
        plot_sizes(rows, options.plot)


if __name__ == "__main__":
    main()
