"""`boxwright serve` on loopback: what it adds to one photo, and photos a second with many clients, beside the bare engine.

python -m benchmarks.throughput [--model everyday] [--clients 32] [--seconds 4] [--rounds 3]

Three things in turn, round by round: one client, one photo after another; all clients at once; the engine alone, called in this process
with the same photo already prepared. The rivals' engines are in benchmarks/latency.py, with --batch 4 and 16 as photos come in heaps.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from http.client import HTTPConnection
from io import BytesIO
from typing import Any

import uvloop
from PIL import Image

from benchmarks.load_client import exchange, serving
from benchmarks.machine import machine, versions
from detector.detector import Detector
from detector.imaging.image import read_image
from weights.embedded import SAMPLE_PHOTO
from weights.engines.factory import build_engine
from weights.hub.resolve import resolve_model

PACKAGES = ("fastapi", "numpy", "onnxruntime", "pillow", "uvicorn")


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each of the three things, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.model, arguments.clients, arguments.seconds, arguments.rounds)))


def measure(model: str, clients: int, seconds: float, rounds: int) -> dict[str, object]:
    """The line."""
    data = _photo()
    loaded = resolve_model(model)
    detector = Detector(loaded.spec, build_engine(loaded))
    pixels = detector.preprocess(read_image(data)).pixels[None]
    together: list[float] = []
    engine: list[float] = []
    answers: list[dict[str, Any]] = []
    with serving(model, []) as server:
        port = server.port
        for _ in range(rounds):
            answers += _asked(port, data, seconds)
            together.append(uvloop.run(_photos_per_second(port, data, clients, seconds)))
            engine.append(_calls_per_second(lambda: detector.forward(pixels), seconds))
    added = [answer["clock_ms"] - answer["timing_ms"]["network"] for answer in answers]
    return {
        "benchmark": "throughput",
        "model": loaded.name,
        "photo": "500x375",
        "clients": clients,
        "rounds": rounds,
        "one_client_ms_p50": round(statistics.median(answer["clock_ms"] for answer in answers), 2),
        "network_ms_p50": round(statistics.median(answer["timing_ms"]["network"] for answer in answers), 2),
        "added_ms_p50": round(statistics.median(added), 2),
        "stages_ms_p50": _stages(answers),
        "photos_per_second": round(statistics.median(together), 2),
        "engine_alone_per_second": round(statistics.median(engine), 2),
        "share_of_engine": round(statistics.median(t / e for t, e in zip(together, engine, strict=True)), 3),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }


def _stages(answers: list[dict[str, Any]]) -> dict[str, float]:
    """Median milliseconds of each stage of a request, and of all that is none: HTTP, both sides of it, and JSON."""
    names = ("decode", "prepare", "network", "select")
    stages = {name: [answer["timing_ms"][name] for answer in answers] for name in names}
    stages["http"] = [answer["clock_ms"] - sum(answer["timing_ms"][name] for name in names) for answer in answers]
    return {name: round(statistics.median(times), 2) for name, times in stages.items()}


def _photo() -> bytes:
    file = BytesIO()
    Image.open(SAMPLE_PHOTO).resize((500, 375)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _asked(port: int, data: bytes, seconds: float) -> list[dict[str, Any]]:
    """Answers to one photo after another over one connection, and how long each took. Exits where one is refused."""
    connection, answers = HTTPConnection("127.0.0.1", port), []
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        connection.request("POST", "/detect", data, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            sys.exit(f"the service answered {response.status}: {body[:200]!r}")
        answers.append(json.loads(body) | {"clock_ms": (time.perf_counter() - before) * 1000})
    connection.close()
    return answers


async def _photos_per_second(port: int, data: bytes, clients: int, seconds: float) -> float:
    """Each client asks again as soon as it is answered, on one connection. All are of one thread: they share the cores with the service."""
    started = time.perf_counter()

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = 0
        while time.perf_counter() - started < seconds:
            status, body = await exchange(reader, writer, data)
            if status != 200:
                sys.exit(f"the service answered {status}: {body[:200]!r}")
            answers += 1
        writer.close()
        return answers

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
