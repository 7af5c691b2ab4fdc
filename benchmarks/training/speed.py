"""Measure training speed: with and without cached features, and a full training step compared with that of tensornets.

python -m benchmarks.training.speed [--data DIR] [--rounds 5] [--full-rounds 3]

cached: Images per second of `everyday` with a frozen backbone, with and without --cache-features. The time includes reading the images.
The one-time computation of the features is reported separately. DIR is a VOC-style data set with the set train. Without it, images of
rectangles are generated.
full: One step of yolov2-voc with our Trainer, in float32 and in bfloat16, and with tensornets' graph and loss. The network is YOLOv2 on
Darknet19 with 20 classes, 416 pixels, 8 images and random weights. All layers and batch norms are trained, with the momentum and L2 of
tensornets. Our step also measures the gradient of every layer. All run with and without oneDNN (TF_ENABLE_ONEDNN_OPTS), in separate
processes.

The compared variants alternate within one process, so that other load affects them equally. "seconds" is wall time. Other load affects
"processor_seconds" less. Ratios are ratios of medians. `benchmarks.training.rivals` compares with Keras and keras-hub.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from benchmarks.machine import machine, versions
from benchmarks.paths import ROOT
from benchmarks.training.datasets import generate_dataset

PACKAGES = ("keras", "numpy", "onnxruntime", "tensorflow", "tensornets")
BATCH, SIZE = 8, 416
BLOCK = 10
"""Number of short steps that are timed together."""
ANCHORS = ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))  # Darknet cfg/yolov2-voc.cfg


class Times:
    """Wall and processor seconds by name of the measured work."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure the time of the `with` block."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall.setdefault(name, []).append(time.perf_counter() - wall)
        self.processor.setdefault(name, []).append(time.process_time() - processor)

    def medians(self) -> dict[str, dict[str, float]]:
        """Return the median wall and processor seconds by name."""
        pairs = {name: (statistics.median(self.wall[name]), statistics.median(self.processor[name])) for name in self.wall}
        return {name: {"seconds": round(wall, 4), "processor_seconds": round(processor, 4)} for name, (wall, processor) in pairs.items()}

    def ratio(self, slow: str, quick: str) -> dict[str, float]:
        """Return the speed-up of `quick` over `slow`."""
        medians = self.medians()
        return {kind: round(medians[slow][kind] / medians[quick][kind], 2) for kind in ("seconds", "processor_seconds")}


def cached(data: Path, rounds: int) -> dict[str, Any]:
    """Alternate blocks of steps with and without cached features."""
    from training.config.options import Config
    from training.data.batches import Batches
    from training.data.tf_dataset import stream_batches
    from training.data.voc_reader import read_set
    from training.events import CacheProgress, Events
    from training.features.cache import FeatureCache
    from training.modeling.transfer import frozen_layers, transfer
    from training.run.trainer import Trainer
    from weights.hub.resolve import resolve_model

    samples, model = read_set(data, "train"), resolve_model(None)
    labels = sorted({label for sample in samples for label in sample.labels})
    options: dict[str, Any] = {"batch_size": BATCH, "sizes": "288", "unfreeze_at": 10_000.0, "mosaic_until": 1.0}
    options["epochs"] = -(-(rounds + 1) * BLOCK * BATCH // len(samples))
    configs = {"cached": Config(**options, cache_features=2), "computed": Config(**options)}
    start = transfer(model, labels, model.spec.anchors, configs["cached"])
    frozen = frozen_layers(start.model.spec.network, configs["cached"].freeze)
    batches = {name: Batches(samples, start.model.spec, config) for name, config in configs.items()}
    trainers = {name: Trainer(start, config, frozen) for name, config in configs.items()}
    progress: list[CacheProgress] = []

    class RecordProgress(Events):
        def features_cached(self, progress_: CacheProgress) -> None:
            progress.append(progress_)

    cache, events, times = FeatureCache.create(start.model, frozen, batches["cached"]), RecordProgress(), Times()
    with times.of("filling the cache"):
        next(cache.stream(0, 1, events, lambda: False))
    inputs: dict[str, Callable[[int, int], Any]] = {
        "cached": lambda first, last: cache.stream(first, last, events, lambda: False),
        "computed": lambda first, last: stream_batches(batches["computed"], first, last),
    }
    for block in range(rounds + 1):
        for name in inputs:
            first = block * BLOCK
            with times.of(name if block else "warming up"):
                for step, (images, targets) in enumerate(inputs[name](first, first + BLOCK), start=first):
                    trainers[name].step(images, targets, number=step, learning_rate=1e-4)
    images_per_second = {name: round(BLOCK * BATCH / statistics.median(times.wall[name]), 1) for name in inputs}
    facts = {
        "images": len(samples),
        "views": progress[-1].total,
        "megabytes": round(progress[-1].file_size / 1e6, 1),
        "images_per_second": images_per_second,
    }
    return facts | {"times": times.medians(), "ratio": times.ratio("computed", "cached")}


def full(rounds: int) -> dict[str, Any]:
    """Alternate single steps of tensornets' graph, of ours in float32 and of ours in bfloat16."""
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype(np.float32)
    steps = {"tensornets": _tensornets_step(images), "float32": _our_step(images, "float32"), "bfloat16": _our_step(images, "bfloat16")}
    times = Times()
    for turn in range(rounds + 1):
        for name, step in steps.items():
            with times.of(name if turn else "warming up"):
                step()
    ratios = {name: times.ratio("tensornets", name) for name in ("float32", "bfloat16")}
    return {"times": times.medians(), "ratios": ratios}


def _our_step(images: Any, precision: Literal["float32", "bfloat16"]) -> Callable[[], object]:
    from detector.network.architectures import yolov2
    from detector.network.spec import Model, ModelSpec
    from training.config.options import Config
    from training.data.ground_truth import GroundTruth
    from training.data.targets import dense_targets
    from training.modeling.transfer import InitialModel, fresh_arrays
    from training.run.trainer import Trainer

    labels = tuple(f"label{number}" for number in range(20))
    spec = ModelSpec(labels, ANCHORS, yolov2(labels), input_size=SIZE)
    options: dict[str, Any] = {"batch_size": BATCH, "batch_norm": "train", "loss": "darknet", "optimizer": "momentum", "l2": 5e-4}
    config = Config(**options, weight_decay=0.0, clip="none", ema=0.0, precision=precision)
    trainer = Trainer(InitialModel(Model("random", spec, fresh_arrays(spec.network, config)), frozenset()), config, frozenset())
    boxes = np.array([[50, 60, 200, 300], [220, 100, 400, 250]], np.float32)
    image_targets = dense_targets(GroundTruth(boxes, np.array([1, 2]), np.zeros(2, np.int8)), spec, max_boxes=4)
    targets: dict[str, Any] = {name: np.stack([array] * BATCH) for name, array in cast(dict[str, Any], image_targets).items()}
    return lambda: trainer.step(images, targets, number=0, learning_rate=1e-6)


def _tensornets_step(images: Any) -> Callable[[], object]:
    """Return tensornets' step with empty targets, because the content of targets does not change the time."""
    from weights.formats.tensornets.compat import import_tensornets, suppress_known_warnings

    nets = import_tensornets()
    from tensorflow.compat import v1 as tf

    with suppress_known_warnings(), tf.Graph().as_default() as graph:
        inputs = tf.placeholder(tf.float32, (None, SIZE, SIZE, 3))
        output = nets.YOLOv2(inputs, nets.Darknet19, is_training=True)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = tf.train.MomentumOptimizer(1e-6, 0.9).minimize(output.loss)
        session = tf.Session(graph=graph)
        session.run(tf.global_variables_initializer())
    feed = {inputs: images / 255} | {each: np.zeros((BATCH, *each.shape[1:]), np.float32) for each in output.inputs[1:]}
    return lambda: session.run([train, output.loss], feed)


def _in_process(part: str, options: dict[str, object], folder: str, onednn: str = "1") -> Any:
    """Run a part of the benchmark in a separate process and return its result."""
    command = [sys.executable, "-m", "benchmarks.training.speed", "--part", part]
    command += [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "BOXWRIGHT_HOME": folder}
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full-rounds", type=int, default=3)
    parser.add_argument("--part", choices=("cached", "full"), help="run only this part, in this process")
    arguments = parser.parse_args()
    if arguments.part:
        result = cached(arguments.data, arguments.rounds) if arguments.part == "cached" else full(arguments.full_rounds)
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data.resolve() if arguments.data else generate_dataset(Path(folder) / "data")
        parts = {"cached": _in_process("cached", {"data": data, "rounds": arguments.rounds}, folder)}
        for onednn in ("1", "0"):
            parts[f"full_onednn_{onednn}"] = _in_process("full", {"full-rounds": arguments.full_rounds}, folder, onednn)
    print(json.dumps({"benchmark": "training", **parts, "machine": machine(), "versions": versions(PACKAGES)}))


if __name__ == "__main__":
    main()
