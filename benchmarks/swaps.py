"""What becomes of requests while the model under them is swapped: a `boxwright serve --models` of its own, asked without a break.

python -m benchmarks.swaps [--swaps 20] [--rounds 4] [--clients 2] [--photo FILE]

Two models take turns as the next version of one name: `everyday`, and `everyday-int8` with every label renamed, so that an answer of one
model with the labels of the other would be seen. The files lie ready and are renamed into place. In each round the clients are first
watched without swaps, for as long as the swaps of the round before took. Clients and server share the cores.
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

from benchmarks.load_client import ROOT, Server, serving
from benchmarks.machine import machine, versions
from service.client.client import Client
from service.client.errors import ClientError
from service.schemas.detections import DetectResponse
from weights.embedded import EMBEDDED
from weights.formats.safetensors import load_model, save_model
from weights.repository.layout import MODEL_FILE

NAME = "mine"
QUIET_SECONDS = 5.0


@dataclass
class Asked:
    """What the clients were told so far."""

    answers: list[tuple[float, DetectResponse]] = field(default_factory=list)  # seconds
    failed: list[str] = field(default_factory=list)


def ask(url: str, photo: bytes, asked: Asked, stop: threading.Event) -> None:
    """One client, until told to stop."""
    with Client(url, max_wait=0) as client:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                answer = client.detect(photo, model=NAME)
            except ClientError as error:
                asked.failed.append(str(error))
            else:
                asked.answers.append((time.perf_counter() - started, answer))


class Bench:
    """One server, and how it is asked while things happen."""

    def __init__(self, server: Server, photo: bytes, clients: int) -> None:
        self.url, self.photo, self.clients = f"http://127.0.0.1:{server.port}", photo, clients
        self.during = {True: Asked(), False: Asked()}  # by whether there were swaps

    def alone(self) -> str:
        """What the version that answers now says of the photo, without the clock."""
        with Client(self.url) as client:
            return said(client.detect(self.photo, model=NAME))

    def until(self, version: str) -> None:
        """Wait for that version to answer."""
        with Client(self.url) as client:
            while client.models()[0].version != version:
                time.sleep(0.1)  # asking costs the server something too

    def watch(self, swaps: Sequence[int], home: Path, seconds: float) -> list[float]:
        """Ask while these become versions one after another, or for so many seconds without any; how long each took to answer."""
        stop, asked = threading.Event(), self.during[bool(swaps)]
        threads = [threading.Thread(target=ask, args=(self.url, self.photo, asked, stop)) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        took = []
        for version in swaps:
            started = time.perf_counter()
            (home / f".{version}").rename(home / str(version))
            self.until(str(version))
            took.append(time.perf_counter() - started)
        if not swaps:
            time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        return took


def said(answer: DetectResponse) -> str:
    """An answer without what depends on the clock and the swap."""
    return answer.model_dump_json(exclude={"timing_ms", "version"})


def latencies(asked: Asked) -> dict[str, float]:
    """Milliseconds."""
    times = sorted(1000 * seconds for seconds, _ in asked.answers)
    p99 = times[int(0.99 * len(times))]
    return {"p50_ms": round(statistics.median(times), 1), "p99_ms": round(p99, 1), "worst_ms": round(times[-1], 1)}


def prepare(home: Path, count: int) -> None:
    """So many versions, from 1, in hidden folders."""
    other = load_model(EMBEDDED["everyday-int8"])
    renamed = replace(other, spec=replace(other.spec, labels=tuple(f"other {label}" for label in other.spec.labels)))
    for version in range(1, count + 1):
        (home / f".{version}").mkdir(parents=True)
        if version % 2:
            shutil.copy(EMBEDDED["everyday"], home / f".{version}" / MODEL_FILE)
        else:
            save_model(renamed, home / f".{version}" / MODEL_FILE)


def measure(arguments: argparse.Namespace, models: Path) -> dict[str, object]:
    """The line, without the machine."""
    home, each = models / NAME, arguments.swaps // arguments.rounds
    prepare(home, 2 + each * arguments.rounds)
    (home / ".1").rename(home / "1")
    with serving(NAME, [f"models={models}", "models_seconds=0.5"]) as server:
        bench = Bench(server, Path(arguments.photo).read_bytes(), arguments.clients)
        expected = [bench.alone()]
        (home / ".2").rename(home / "2")
        bench.until("2")
        expected.append(bench.alone())
        resident, took, quiet = [server.resident()], [], QUIET_SECONDS
        for first in range(3, 3 + each * arguments.rounds, each):
            bench.watch([], home, quiet)
            started = time.perf_counter()
            took += bench.watch(range(first, first + each), home, 0)
            quiet = time.perf_counter() - started
            resident.append(server.resident())
    answers = [answer for asked in bench.during.values() for _, answer in asked.answers]
    told = {swapping: latencies(asked) for swapping, asked in bench.during.items()}
    return {
        "swaps": len(took),
        "requests": {"swapping": len(bench.during[True].answers), "quiet": len(bench.during[False].answers)},
        "failed": dict(Counter(sentence for asked in bench.during.values() for sentence in asked.failed)),
        "mixed": sum(said(answer) != expected[(int(answer.version) - 1) % 2] for answer in answers),
        "versions_that_answered": len({answer.version for answer in answers}),
        "swapping": told[True],
        "quiet": told[False],
        "ratios": {name: round(told[True][name] / told[False][name], 2) for name in told[True]},
        "seconds_from_disk_to_answer": round(statistics.median(took), 2),
        "resident_mib": [round(each, 1) for each in resident],
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--photo", default=str(ROOT / "docs" / "photos" / "cat.jpg"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments, Path(folder))
    facts = {"machine": machine(), "versions": versions(("fastapi", "numpy", "onnxruntime", "safetensors", "uvicorn"))}
    print(json.dumps({"benchmark": "swaps", "clients": arguments.clients, **measured, **facts}))


if __name__ == "__main__":
    main()
