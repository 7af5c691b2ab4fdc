"""Compare the time of every layer with the roofline: the measured peak arithmetic rate and memory bandwidth of the cores.

python -m benchmarks.engines.roofline [--network yolov2-voc] [--threads 2] [--rounds 30]

Every round runs the network under onnxruntime's profiler, copies memory, and computes numpy's float32 matrix product in another process.
The product gives the peak arithmetic rate, and the copy gives the peak bandwidth. A layer takes at least the
larger of two times: its operations at the peak arithmetic rate, and its bytes (kernel, input and output) at the peak bandwidth.
Times are minima over the rounds, because other load affects minima least.
"""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.contenders.arena import contender
from benchmarks.contenders.process import GEMM_SIDE
from benchmarks.contenders.subjects import MODEL, NETWORKS, prepare_network, sample_images
from benchmarks.machine import machine, versions
from detector.engines.onnxruntime import GRAPH_FILE, OnnxEngine
from detector.network.layers import Conv
from detector.network.shapes import array_shapes, input_shapes, output_shapes
from detector.network.spec import Model, ModelSpec
from detector.onnx.names import INPUT
from weights.formats.safetensors import load_model

COPIED_BYTES = 2**26  # per thread; larger than any cache
OTHER = "between the layers"


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="yolov2-voc")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    print(json.dumps(measure(arguments.network, arguments.threads, arguments.rounds)))


def measure(network: str, threads: int, rounds: int) -> dict[str, object]:
    """Return the result of the benchmark."""
    model = load_model(prepare_network(network) / MODEL)
    seconds: dict[str, list[float]] = {"network": [], "product": [], "copy": []}
    with TemporaryDirectory() as folder, contender("matrix product", Path(), threads, 1) as product:
        session, images = _profiled(model, threads, Path(folder)), sample_images(model.spec, 1)
        runs: dict[str, Callable[[], object]] = {"network": lambda: session.run(None, {INPUT: images}), "copy": _copying(threads)}
        for _ in range(rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
            seconds["product"].append(product.time_calls(2)[-1][0])
        nodes = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    least = {name: min(each) for name, each in seconds.items()}
    peak, bandwidth = 2 * GEMM_SIDE**3 / least["product"] / 1e9, 2 * COPIED_BYTES * threads / least["copy"] / 1e9
    return {
        "benchmark": "roofline",
        "network": network,
        "threads": threads,
        "rounds": rounds,
        "peak_gflops": round(peak, 1),
        "copy_gb_per_second": round(bandwidth, 1),
        "ms_min": round(least["network"] * 1000, 2),
        "ms_median": round(statistics.median(seconds["network"]) * 1000, 2),
        "layers": _layers(model.spec, _least_by_layer(model.spec, nodes), peak, bandwidth),
        "machine": machine(),
        "versions": versions(("numpy", "onnxruntime")),
    }


def _profiled(model: Model, threads: int, folder: Path) -> Any:
    """Open the engine's cached, optimised graph in a session with profiling."""
    import onnxruntime

    OnnxEngine.of(model, threads=threads, cache_folder=folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    return onnxruntime.InferenceSession(str(folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"])


def _copying(threads: int) -> Callable[[], object]:
    sources = [np.ones(COPIED_BYTES, np.uint8) for _ in range(threads)]
    targets = [np.empty(COPIED_BYTES, np.uint8) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.copyto, targets, sources))


def _least_by_layer(spec: ModelSpec, events: list[dict[str, Any]]) -> dict[str, float]:
    """Return the milliseconds of each layer: the sum over its nodes of each node's minimum."""
    by_node: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            by_node.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"] / 1000)
    names = {layer.name for layer in spec.network}
    least: dict[str, float] = {}
    for node, times in by_node.items():
        layer = re.sub(r"(/.*|_nchwc)$", "", node)
        layer = layer if layer in names else OTHER
        least[layer] = least.get(layer, 0.0) + min(times)
    return least


def _layers(spec: ModelSpec, least: dict[str, float], peak: float, bandwidth: float) -> list[dict[str, object]]:
    """Return a row for each layer that takes time, in network order, then one for the operations between layers."""
    shapes, inputs, kernels = (
        output_shapes(spec.network, spec.input_size),
        input_shapes(spec.network, spec.input_size),
        array_shapes(spec.network),
    )
    total, rows = sum(least.values()), []
    for layer in spec.network:
        if layer.name not in least:
            continue
        output, source = shapes[layer.name], inputs[layer.name]
        numbers = int(np.prod(kernels[f"{layer.name}/kernel"])) if isinstance(layer, Conv) else 0
        gflop = 2 * numbers * output.side**2 / 1e9
        mb = 4 * (numbers + source.channels * source.side**2 + output.channels * output.side**2) / 1e6
        ms, roof = least[layer.name], max(gflop / peak, mb / 1000 / bandwidth) * 1000
        rows.append(
            {
                "layer": layer.name,
                "kind": _kind(layer) if isinstance(layer, Conv) else type(layer).__name__.lower(),
                "output": f"{output.side}x{output.side}x{output.channels}",
                "gflop": round(gflop, 3),
                "mb": round(mb, 2),
                "ms": round(ms, 3),
                "share": round(ms / total, 4),
                "gflops": round(gflop / ms * 1000, 1),
                "of_roof": round(roof / ms, 2),
            }
        )
    rest = least.get(OTHER, 0.0)
    return [*rows, {"layer": OTHER, "kind": "layout", "ms": round(rest, 3), "share": round(rest / total, 4)}]


def _kind(layer: Conv) -> str:
    return f"{layer.size}x{layer.size}{' depthwise' if layer.groups == layer.filters else ''}{'/2' if layer.stride == 2 else ''}"


if __name__ == "__main__":
    main()
