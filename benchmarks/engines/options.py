"""Measure the effect of single onnxruntime options on the same graph, in interleaved rounds.

python -m benchmarks.engines.options [--network everyday] [--threads 2] [--rounds 40]

"ours_ratio" is the median over the rounds of the shipped engine's time divided by the variant's. Above 1, the variant is faster.
No other program runs meanwhile, so only the processor time shows how much spinning threads would slow down other programs.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.contenders.subjects import MODEL, NETWORKS, prepare_network, sample_images
from benchmarks.machine import machine, versions
from detector.engines.onnxruntime import GRAPH_FILE, OnnxEngine
from detector.onnx.names import INPUT
from weights.formats.safetensors import load_model

SHIPPED = {"session.force_spinning_stop": "1"}
SESSION_VARIANTS: Mapping[str, tuple[Mapping[str, str], Mapping[str, bool]]] = {
    "shipped": (SHIPPED, {}),
    "no spinning": ({"session.intra_op.allow_spinning": "0"}, {}),
    "spinning between calls": ({}, {}),
    "no arena": (SHIPPED, {"enable_cpu_mem_arena": False}),
    "no memory pattern": (SHIPPED, {"enable_mem_pattern": False}),
    "denormals as zero": (SHIPPED | {"session.set_denormal_as_zero": "1"}, {}),
}


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="everyday")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.network, arguments.threads, arguments.rounds)))


def measure(network: str, threads: int, rounds: int) -> dict[str, object]:
    """Return the result of the benchmark."""
    model = load_model(prepare_network(network) / MODEL)
    images = sample_images(model.spec, 1)
    wall_ms: dict[str, list[float]] = {name: [] for name in SESSION_VARIANTS}
    cpu_ms: dict[str, list[float]] = {name: [] for name in SESSION_VARIANTS}
    with TemporaryDirectory() as folder:
        OnnxEngine.of(model, threads=threads, cache_folder=Path(folder))
        runs = {name: _run(Path(folder), threads, variant, images) for name, variant in SESSION_VARIANTS.items()}
        for _ in range(rounds):
            for name, run in runs.items():
                run()
                started, computed = time.perf_counter(), time.process_time()
                run()
                wall_ms[name].append((time.perf_counter() - started) * 1000)
                cpu_ms[name].append((time.process_time() - computed) * 1000)
    rows = {
        name: {
            "ms_median": round(statistics.median(times), 2),
            "cpu_ms_median": round(statistics.median(cpu_ms[name]), 2),
            "ours_ratio": round(statistics.median(o / t for o, t in zip(wall_ms["shipped"], times, strict=True)), 3),
        }
        for name, times in wall_ms.items()
    }
    facts: dict[str, object] = {"benchmark": "options", "network": network, "threads": threads, "rounds": rounds, "variants": rows}
    return facts | {"machine": machine(), "versions": versions(("onnxruntime",))}


def _run(folder: Path, threads: int, variant: tuple[Mapping[str, str], Mapping[str, bool]], images: Any) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for entry, value in variant[0].items():
        options.add_session_config_entry(entry, value)
    for attribute, switch in variant[1].items():
        setattr(options, attribute, switch)
    session = onnxruntime.InferenceSession(str(folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {INPUT: images})


if __name__ == "__main__":
    main()
