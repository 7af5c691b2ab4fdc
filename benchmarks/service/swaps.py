"""Measure the effect of model swaps on requests to a `boxwright serve --models` process under continuous load.

python -m benchmarks.service.swaps [--swaps 20] [--rounds 4] [--clients 2] [--image FILE]

Versions of one model name alternate between `everyday` and `everyday-int8` with renamed labels. Therefore the benchmark detects a response
that mixes the output of one model with the labels of the other. The files are prepared in advance and renamed into place. Each round first
measures a period without swaps, which is as long as the swaps of the previous round. Clients and server share the cores.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.machine import machine, versions
from benchmarks.paths import ROOT
from benchmarks.service.load_client import Server, latencies, serving
from service.client.client import ServiceClient
from service.client.errors import ClientError
from service.schemas.detections import DetectResponse
from weights.embedded import EMBEDDED
from weights.formats.safetensors import load_model, save_model
from weights.repository.layout import MODEL_FILE

NAME = "mine"
QUIET_SECONDS = 5.0


@dataclass
class RequestLog:
    """Responses and errors that the clients received."""

    responses: list[tuple[float, DetectResponse]] = field(default_factory=list)  # with latency in seconds
    errors: list[str] = field(default_factory=list)


def send_requests(url: str, image_bytes: bytes, log: RequestLog, stop: threading.Event) -> None:
    """Send requests as one client until `stop` is set."""
    with ServiceClient(url, max_wait=0) as client:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                response = client.detect(image_bytes, model=NAME)
            except ClientError as error:
                log.errors.append(str(error))
            else:
                log.responses.append((time.perf_counter() - started, response))


class SwapTest:
    """One server under load, with separate logs for periods with and without swaps."""

    def __init__(self, server: Server, image_bytes: bytes, clients: int) -> None:
        self.url, self.image_bytes, self.clients = f"http://127.0.0.1:{server.port}", image_bytes, clients
        self.logs = {True: RequestLog(), False: RequestLog()}  # key: whether there were swaps

    def reference(self) -> str:
        """Return the stable content of the current version's response."""
        with ServiceClient(self.url) as client:
            return stable_content(client.detect(self.image_bytes, model=NAME))

    def wait_for(self, version: str) -> None:
        """Wait until that version is served."""
        with ServiceClient(self.url) as client:
            while client.models()[0].version != version:
                time.sleep(0.1)  # limits the load that polling puts on the server

    def run(self, swaps: Sequence[int], home: Path, seconds: float) -> list[float]:
        """Send requests while the versions are published one after another, or for some seconds without swaps.

        Returns:
            The seconds of each swap, from renaming the file until the version is served.
        """
        stop, log = threading.Event(), self.logs[bool(swaps)]
        threads = [threading.Thread(target=send_requests, args=(self.url, self.image_bytes, log, stop)) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        took = []
        for version in swaps:
            started = time.perf_counter()
            (home / f".{version}").rename(home / str(version))
            self.wait_for(str(version))
            took.append(time.perf_counter() - started)
        if not swaps:
            time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        return took


def stable_content(response: DetectResponse) -> str:
    """Return the response as JSON without its timing and version, which differ between equal responses."""
    return response.model_dump_json(exclude={"timing_ms", "version"})


def prepare(home: Path, count: int) -> None:
    """Write that many versions, numbered from 1, into hidden folders."""
    other = load_model(EMBEDDED["everyday-int8"])
    renamed = replace(other, spec=replace(other.spec, labels=tuple(f"other {label}" for label in other.spec.labels)))
    for version in range(1, count + 1):
        (home / f".{version}").mkdir(parents=True)
        if version % 2:
            shutil.copy(EMBEDDED["everyday"], home / f".{version}" / MODEL_FILE)
        else:
            save_model(renamed, home / f".{version}" / MODEL_FILE)


def measure(arguments: argparse.Namespace, models: Path) -> dict[str, object]:
    """Return the result of the benchmark, without the facts about the machine."""
    home, each = models / NAME, arguments.swaps // arguments.rounds
    prepare(home, 2 + each * arguments.rounds)
    (home / ".1").rename(home / "1")
    with serving(NAME, [f"models={models}", "models_seconds=0.5"]) as server:
        test = SwapTest(server, Path(arguments.image).read_bytes(), arguments.clients)
        expected = [test.reference()]
        (home / ".2").rename(home / "2")
        test.wait_for("2")
        expected.append(test.reference())
        resident, took, quiet = [server.resident()], [], QUIET_SECONDS
        for first in range(3, 3 + each * arguments.rounds, each):
            test.run([], home, quiet)
            started = time.perf_counter()
            took += test.run(range(first, first + each), home, 0)
            quiet = time.perf_counter() - started
            resident.append(server.resident())
    responses = [response for log in test.logs.values() for _, response in log.responses]
    latency = {swapping: latencies(seconds for seconds, _ in log.responses) for swapping, log in test.logs.items()}
    return {
        "swaps": len(took),
        "requests": {"swapping": len(test.logs[True].responses), "quiet": len(test.logs[False].responses)},
        "failed": dict(Counter(error for log in test.logs.values() for error in log.errors)),
        "mixed": sum(stable_content(response) != expected[(int(response.version) - 1) % 2] for response in responses),
        "versions_served": len({response.version for response in responses}),
        "swapping": latency[True],
        "quiet": latency[False],
        "ratios": {name: round(latency[True][name] / latency[False][name], 2) for name in latency[True]},
        "seconds_until_served": round(statistics.median(took), 2),
        "resident_mib": [round(each, 1) for each in resident],
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--image", default=str(ROOT / "docs" / "photos" / "cat.jpg"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments, Path(folder))
    facts = {"machine": machine(), "versions": versions(("fastapi", "numpy", "onnxruntime", "safetensors", "uvicorn"))}
    print(json.dumps({"benchmark": "swaps", "clients": arguments.clients, **measured, **facts}))


if __name__ == "__main__":
    main()
