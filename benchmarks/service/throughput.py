"""Compare `boxwright serve` on loopback with the engine alone: added latency of one image, and images per second with many clients.

python -m benchmarks.service.throughput [--model everyday] [--clients 32] [--seconds 4] [--rounds 3]

Each round measures three cases: one client that sends images in sequence, all clients at once, and the engine alone. The engine is
called in this process with the same preprocessed image. `benchmarks.engines.latency --batch` measures batches in other libraries.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from http.client import HTTPConnection
from io import BytesIO
from typing import Any

import uvloop
from PIL import Image

from benchmarks.machine import machine, versions
from benchmarks.service.load_client import exchange, serving
from detector.detector import Detector
from detector.imaging.image import read_image
from weights.embedded import SAMPLE_IMAGE
from weights.engines.factory import build_engine
from weights.hub.resolve import resolve_model

PACKAGES = ("fastapi", "numpy", "onnxruntime", "pillow", "uvicorn")


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of each of the three cases in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.model, arguments.clients, arguments.seconds, arguments.rounds)))


def measure(model: str, clients: int, seconds: float, rounds: int) -> dict[str, object]:
    """Return the result of the benchmark."""
    data = _sample_jpeg()
    loaded = resolve_model(model)
    detector = Detector(loaded.spec, build_engine(loaded))
    pixels = detector.preprocess(read_image(data)).pixels[None]
    together: list[float] = []
    engine: list[float] = []
    busy: list[float] = []
    responses: list[dict[str, Any]] = []
    precision = "int8" if loaded.quantization else "float32"
    with serving(model, ["engine=onnxruntime", f"precision={precision}"]) as server:  # the same engine as `detector` above
        port = server.port
        for _ in range(rounds):
            responses += _send_sequentially(port, data, seconds)
            started, before = time.perf_counter(), server.cpu_seconds() + time.process_time()
            together.append(uvloop.run(_responses_per_second(port, data, clients, seconds)))
            processor_seconds = server.cpu_seconds() + time.process_time() - before
            busy.append(processor_seconds / (time.perf_counter() - started) / len(os.sched_getaffinity(0)))
            engine.append(_calls_per_second(lambda: detector.forward(pixels), seconds))
    added = [response["wall_ms"] - response["timing_ms"]["network"] for response in responses]
    return {
        "benchmark": "throughput",
        "model": loaded.name,
        "image": "500x375",
        "clients": clients,
        "rounds": rounds,
        "one_client_ms_p50": round(statistics.median(response["wall_ms"] for response in responses), 2),
        "network_ms_p50": round(statistics.median(response["timing_ms"]["network"] for response in responses), 2),
        "added_ms_p50": round(statistics.median(added), 2),
        "stages_ms_p50": _stages(responses),
        "images_per_second": round(statistics.median(together), 2),
        "engine_alone_per_second": round(statistics.median(engine), 2),
        "share_of_engine": round(statistics.median(t / e for t, e in zip(together, engine, strict=True)), 3),
        # processor seconds of service and clients, as a share of the processor seconds of all cores
        "share_of_processor_time": round(statistics.median(busy), 3),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }


def _stages(responses: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median milliseconds of each stage of a request. "http" is the remainder: HTTP on both sides, and JSON."""
    names = ("decode", "prepare", "network", "select")
    stages = {name: [response["timing_ms"][name] for response in responses] for name in names}
    stages["http"] = [response["wall_ms"] - sum(response["timing_ms"][name] for name in names) for response in responses]
    return {name: round(statistics.median(times), 2) for name, times in stages.items()}


def _sample_jpeg() -> bytes:
    file = BytesIO()
    Image.open(SAMPLE_IMAGE).resize((500, 375)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _send_sequentially(port: int, data: bytes, seconds: float) -> list[dict[str, Any]]:
    """Send images in sequence over one connection and return the responses with their latency. Exit if one is not 200."""
    connection, responses = HTTPConnection("127.0.0.1", port), []
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        connection.request("POST", "/detect", data, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            sys.exit(f"the service answered {response.status}: {body[:200]!r}")
        responses.append(json.loads(body) | {"wall_ms": (time.perf_counter() - before) * 1000})
    connection.close()
    return responses


async def _responses_per_second(port: int, data: bytes, clients: int, seconds: float) -> float:
    """Return the throughput of closed-loop clients with one connection each. They run in one thread, which shares the cores."""
    started = time.perf_counter()

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        responses = 0
        while time.perf_counter() - started < seconds:
            status, body = await exchange(reader, writer, data)
            if status != 200:
                sys.exit(f"the service answered {status}: {body[:200]!r}")
            responses += 1
        writer.close()
        return responses

    counts = await asyncio.gather(*(client() for _ in range(clients)))
    return sum(counts) / (time.perf_counter() - started)


def _calls_per_second(call: Any, seconds: float) -> float:
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
