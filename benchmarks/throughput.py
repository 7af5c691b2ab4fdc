"""`boxwright serve` on loopback: what it adds to one photo, and photos a second with many clients, beside the bare engine.

python -m benchmarks.throughput [--model everyday] [--clients 32] [--seconds 4] [--rounds 3]

Three things in turn, round by round: one client, one photo after another; all clients at once; the engine alone, called in this process
with the same photo already prepared. The rivals' engines are in benchmarks/latency.py, with --batch 4 and 16 as photos come in heaps.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.machine import machine, versions
from detector.detector import Detector
from detector.image import read_image
from weights.embedded import SAMPLE_PHOTO
from weights.engines import load_engine
from weights.resolve import load

ROOT = Path(__file__).resolve().parents[1]
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
    loaded = load(model)
    detector = Detector(loaded.spec, load_engine(loaded))
    pixels = detector.prepare(read_image(data)).pixels[None]
    together: list[float] = []
    engine: list[float] = []
    answers: list[dict[str, Any]] = []
    with _service(model) as port:
        for _ in range(rounds):
            answers += _asked(port, data, seconds)
            together.append(_photos_per_second(port, data, clients, seconds))
            engine.append(_calls_per_second(lambda: detector.network(pixels), seconds))
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


@contextmanager
def _service(model: str) -> Iterator[int]:
    """Its port, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    command = [sys.executable, "-m", "cli.main", "serve", "--model", model, "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _listening(port):
                if process.poll() is not None:
                    sys.exit(f"{' '.join(command)}: ended with code {process.returncode} before it was ready.")
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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


def _photos_per_second(port: int, data: bytes, clients: int, seconds: float) -> float:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(_asked(port, data, seconds)))) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) < clients:
        sys.exit(f"{clients - len(counts)} of {clients} clients were not answered.")
    return sum(counts) / (time.perf_counter() - started)


def _calls_per_second(call: Any, seconds: float) -> float:
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
