"""Measure the speed-up of two training workers with one core each over one worker on one core.

python -m benchmarks.training.workers [--data DIR] [--batch 32] [--rounds 5] [--block 2] [--freeze none] [--size 288] [--sharing-core]

Both fine-tune `everyday` with the same global batch size, so that they take the same steps. Each of two workers gets half of every batch.
The time includes reading and augmenting images and summing the gradients over loopback, but no validation.
DIR is a VOC-style data set with the set train. Without it, images of rectangles are generated.

The single worker and the pair train blocks of steps alternately; the other one waits for input. Each process is pinned to one core
(sched_setaffinity) and computes with one thread. The ratio is the median of the ratios of the rounds. Other load affects the processor
seconds less. --sharing-core pins both workers to one core: a ratio below 1 then shows the cost of their communication.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import free_ports, machine, versions
from benchmarks.paths import ROOT
from benchmarks.training.datasets import generate_dataset

PACKAGES = ("keras", "numpy", "tensorflow")


def run_worker(arguments: argparse.Namespace) -> None:
    """Run one worker in this process. For each line on stdin, train a block of steps and print its time."""
    os.sched_setaffinity(0, {arguments.core})
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    from training.config.options import Config
    from training.data.batches import Batches
    from training.data.tf_dataset import stream_batches
    from training.data.voc_reader import read_set
    from training.distributed.cluster import Cluster
    from training.distributed.multi_worker import MultiWorkerGroup
    from training.distributed.process_group import SINGLE_PROCESS
    from training.distributed.synchronise import broadcast_arrays
    from training.modeling.transfer import frozen_layers, transfer
    from training.run.trainer import Trainer
    from weights.hub.resolve import resolve_model

    cluster = Cluster.from_options(arguments.workers, arguments.index, {}) if arguments.workers else None
    group = MultiWorkerGroup.connect(cluster) if cluster else SINGLE_PROCESS
    samples, model = read_set(arguments.data, "train"), resolve_model(None)
    labels = sorted({label for sample in samples for label in sample.labels})
    steps = arguments.block * (arguments.rounds + 1)
    epochs = -(-steps * arguments.batch // len(samples))
    options = {"batch_size": arguments.batch, "sizes": str(arguments.size), "freeze": arguments.freeze}
    config = Config.of(options | {"epochs": epochs, "mosaic_until": 1.0})
    start = transfer(model, labels, model.spec.anchors, config)
    batches = Batches(samples, start.model.spec, config, shard=group.shard)
    trainer = Trainer(start, config, frozen_layers(start.model.spec.network, config.freeze), group)
    broadcast_arrays(group, trainer)
    trained = sum(int(variable.value.shape.num_elements()) for variable in trainer.network.trainable_variables)
    for block, _ in enumerate(sys.stdin):
        wall, processor = time.perf_counter(), time.process_time()
        first = block * arguments.block
        for step, (images, targets) in enumerate(stream_batches(batches, first, first + arguments.block, threads=1), start=first):
            report = trainer.step(images, targets, number=step, learning_rate=1e-4)
        facts = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
        print(json.dumps(facts | {"loss": report.loss, "trained": trained}), flush=True)


class WorkerProcesses:
    """One or several worker processes, each pinned to one of the given cores."""

    def __init__(self, arguments: argparse.Namespace, cores: list[int]) -> None:
        addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(len(cores)))
        self.processes: list[Any] = []
        for index, core in enumerate(cores):
            command = [sys.executable, "-m", "benchmarks.training.workers", "--core", str(core), "--data", str(arguments.data)]
            command += [
                word for name in ("batch", "rounds", "block", "freeze", "size") for word in (f"--{name}", str(vars(arguments)[name]))
            ]
            command += ["--workers", addresses, "--index", str(index)] if len(cores) > 1 else []
            environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))

    def block(self) -> dict[str, float]:
        """Run a block of steps. Return the seconds of the slowest worker, the sum of processor seconds and the last loss."""
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()
        reports: list[dict[str, float]] = [json.loads(process.stdout.readline()) for process in self.processes]
        return reports[0] | {
            "seconds": max(each["seconds"] for each in reports),
            "processor_seconds": sum(each["processor_seconds"] for each in reports),
        }

    def end(self) -> None:
        """Close the input of the processes and wait until they end."""
        for process in self.processes:
            process.communicate()


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Alternate blocks of one worker and of two. The first round compiles functions and is not counted."""
    cores = sorted(os.sched_getaffinity(0))
    pair = [cores[0], cores[0] if arguments.sharing_core else cores[1]]
    groups = {"one": WorkerProcesses(arguments, [cores[0]]), "two": WorkerProcesses(arguments, pair)}
    rounds = [{name: group.block() for name, group in groups.items()} for _ in range(arguments.rounds + 1)]
    for group in groups.values():
        group.end()
    images = arguments.batch * arguments.block
    ratios = [each["one"]["seconds"] / each["two"]["seconds"] for each in rounds[1:]]
    facts: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "losses": {name: round(rounds[-1][name]["loss"], 4) for name in groups},
        "summed_megabytes": round(rounds[-1]["two"]["trained"] * 4 / 1e6, 1),
    }
    for name in groups:
        for kind in ("seconds", "processor_seconds"):
            median = statistics.median(each[name][kind] for each in rounds[1:])
            facts[f"images_per_{kind.removesuffix('s')}_{name}"] = round(images / median, 2)
    return facts


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--batch", type=int, default=32, help="global batch size of all workers together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block", type=int, default=2, help="steps in a block")
    parser.add_argument("--freeze", default="none", help="as in training: none, backbone, all-but-head")
    parser.add_argument("--size", type=int, default=288)
    parser.add_argument("--sharing-core", action="store_true")
    parser.add_argument("--core", type=int, help="run as a worker on this core (internal)")
    parser.add_argument("--workers")
    parser.add_argument("--index", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        run_worker(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.data = arguments.data.resolve() if arguments.data else generate_dataset(Path(folder) / "data")
        options = {name: getattr(arguments, name) for name in ("batch", "rounds", "block", "freeze", "size", "sharing_core")}
        facts = compare(arguments)
    print(json.dumps({"benchmark": "workers", **facts, **options, "machine": machine(), "versions": versions(PACKAGES)}))


if __name__ == "__main__":
    main()
