"""How much quicker two training workers on a core each are than one worker on one core.

python -m benchmarks.workers [--data DIR] [--batch 32] [--rounds 5] [--block 2] [--freeze none] [--size 288] [--sharing-core]

everyday is fine-tuned with batches of the same size by both, so that they take the same steps: each of two workers sees half of every
batch. The reading of photos and their augmentation count, and so does the sum of the gradients over loopback; checks on the validation set
do not. DIR is VOC-style (set train); if not given, photos of rectangles are made.

One worker, and the group of two, take turns in blocks of steps; who has no turn waits for its input. Each process is held to one core
(sched_setaffinity) and one thread for arithmetic. The ratio is the median of the rounds' ratios; processor seconds, which other programs
disturb less, are given as well. --sharing-core puts both workers on one core: what is lost against a ratio of 1 is what the work together
costs.
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

from benchmarks.machine import machine, versions
from benchmarks.training import made_photos

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("keras", "numpy", "tensorflow")


def train(arguments: argparse.Namespace) -> None:
    """One worker, in this process: for each line that it is given, a block of steps and a line of how long it took."""
    os.sched_setaffinity(0, {arguments.core})
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    from training.config import Config
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
    for turn, _ in enumerate(sys.stdin):
        wall, processor = time.perf_counter(), time.process_time()
        first = turn * arguments.block
        for step, (seen, targets) in enumerate(stream_batches(batches, first, first + arguments.block, threads=1), start=first):
            report = trainer.step(seen, targets, number=step, learning_rate=1e-4)
        facts = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
        print(json.dumps(facts | {"loss": report.loss, "trained": trained}), flush=True)


class Contender:
    """Processes that work together, each on the core given."""

    def __init__(self, arguments: argparse.Namespace, cores: list[int]) -> None:
        addresses = ",".join(f"127.0.0.1:{port}" for port in _free_ports(len(cores)))
        self.processes: list[Any] = []
        for index, core in enumerate(cores):
            command = [sys.executable, "-m", "benchmarks.workers", "--core", str(core), "--data", str(arguments.data)]
            command += [
                word for name in ("batch", "rounds", "block", "freeze", "size") for word in (f"--{name}", str(vars(arguments)[name]))
            ]
            command += ["--workers", addresses, "--index", str(index)] if len(cores) > 1 else []
            environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))

    def block(self) -> dict[str, float]:
        """A block of steps of all: seconds until the last was ready, processor seconds of all, and the last loss."""
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()
        told: list[dict[str, float]] = [json.loads(process.stdout.readline()) for process in self.processes]
        return told[0] | {
            "seconds": max(each["seconds"] for each in told),
            "processor_seconds": sum(each["processor_seconds"] for each in told),
        }

    def end(self) -> None:
        """No more input: they end."""
        for process in self.processes:
            process.communicate()


def _free_ports(count: int) -> list[int]:
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Blocks of one worker and of two in turns; the first round, in which functions are compiled, does not count."""
    cores = sorted(os.sched_getaffinity(0))
    pair = [cores[0], cores[0] if arguments.sharing_core else cores[1]]
    contenders = {"one": Contender(arguments, [cores[0]]), "two": Contender(arguments, pair)}
    rounds = [{name: contender.block() for name, contender in contenders.items()} for _ in range(arguments.rounds + 1)]
    for contender in contenders.values():
        contender.end()
    photos = arguments.batch * arguments.block
    ratios = [each["one"]["seconds"] / each["two"]["seconds"] for each in rounds[1:]]
    facts: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "losses": {name: round(rounds[-1][name]["loss"], 4) for name in contenders},
        "summed_megabytes": round(rounds[-1]["two"]["trained"] * 4 / 1e6, 1),
    }
    for name in contenders:
        for kind in ("seconds", "processor_seconds"):
            median = statistics.median(each[name][kind] for each in rounds[1:])
            facts[f"photos_per_{kind.removesuffix('s')}_{name}"] = round(photos / median, 2)
    return facts


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--batch", type=int, default=32, help="photos in a step, of all workers together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block", type=int, default=2, help="steps in a turn")
    parser.add_argument("--freeze", default="none", help="as in training: none, backbone, all-but-head")
    parser.add_argument("--size", type=int, default=288)
    parser.add_argument("--sharing-core", action="store_true")
    parser.add_argument("--core", type=int, help="be a worker, on this core")
    parser.add_argument("--workers")
    parser.add_argument("--index", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        train(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.data = arguments.data.resolve() if arguments.data else made_photos(Path(folder) / "photos")
        asked = {name: getattr(arguments, name) for name in ("batch", "rounds", "block", "freeze", "size", "sharing_core")}
        facts = compare(arguments)
    print(json.dumps({"benchmark": "workers", **facts, **asked, "machine": machine(), "versions": versions(PACKAGES)}))


if __name__ == "__main__":
    main()
