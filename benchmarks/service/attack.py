"""Measure how attacks on the service increase the latency (p99) of an honest client.

python -m benchmarks.service.attack [--only "idle connections" ...] [--seconds 20] [--rounds 3] [--clients 4] [--model NAME_OR_FILE]

An honest client sends one image every 200 ms, each on a new connection. Quiet phases and attacks alternate. The attackers and the honest
client share the cores with the service, so the latencies include their competition for the processor. Each attack prints one JSON line.
The exit code is 1 if p99 during an attack exceeds MAX_RATIO times the quiet p99, or if an honest request gets no response.
"""

import argparse
import asyncio
import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.paths import ROOT
from benchmarks.service.attack_payloads import ATTACKS, Attack
from benchmarks.service.load_client import BROKEN, HUNG, Response, Server, serving

MAX_RATIO = 5.0
INTERVAL_SECONDS = 0.2


async def send_regularly(server: Server, image_bytes: bytes, seconds: float) -> list[Response]:
    """Send an image at fixed times, even if earlier requests are unanswered."""
    start, tasks = time.perf_counter(), []
    for number in range(max(1, round(seconds / INTERVAL_SECONDS))):
        due = start + number * INTERVAL_SECONDS
        await asyncio.sleep(due - time.perf_counter())
        tasks.append(asyncio.create_task(server.post(image_bytes, due)))
    return await asyncio.gather(*tasks)


def measure_attack(
    server: Server, image_bytes: bytes, attack: Attack, clients: int, seconds: float
) -> tuple[list[Response], "Counter[int]", float]:
    """Return the honest client's responses during an attack, the statuses of the attackers, and the largest resident memory in MiB."""
    stop, statuses, memory = threading.Event(), Counter[int](), [server.resident()]

    def watch() -> None:
        while not stop.wait(0.1):
            memory.append(server.resident())

    threads = [threading.Thread(target=attack.run, args=(server.port, stop, statuses)) for _ in range(clients)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    time.sleep(1)
    try:
        responses = asyncio.run(send_regularly(server, image_bytes, seconds))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return responses, statuses, max(memory)


def quantile_ms(responses: Sequence[Response], percent: int) -> float:
    """Return a percentile of the latencies of the responses with status 200."""
    seconds = [response.seconds for response in responses if response.status == 200] or [float("inf")]
    return round(1000 * (statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] if len(seconds) > 1 else seconds[0]), 1)


def measure(server: Server, image_bytes: bytes, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Alternate quiet phases and one attack."""
    quiet: list[Response] = []
    during: list[Response] = []
    attackers, memory = Counter[int](), 0.0
    ATTACKS[name].prepare()
    for _ in range(arguments.rounds):
        quiet += asyncio.run(send_regularly(server, image_bytes, arguments.seconds))
        responses, statuses, peak = measure_attack(server, image_bytes, ATTACKS[name], arguments.clients, arguments.seconds)
        during, memory = during + responses, max(memory, peak)
        attackers.update(statuses)
    ratio = quantile_ms(during, 99) / quantile_ms(quiet, 99)
    return {
        "benchmark": "attack",
        "attack": name,
        "quiet_ms": {"p50": quantile_ms(quiet, 50), "p99": quantile_ms(quiet, 99)},
        "attacked_ms": {"p50": quantile_ms(during, 50), "p99": quantile_ms(during, 99)},
        "p99_ratio": round(ratio, 2),
        "honest_statuses": dict(Counter(str(response.status) for response in during)),
        "attacker_statuses": {str(status): count for status, count in attackers.items()},
        "resident_mib": round(memory),
        "holds": ratio <= MAX_RATIO and not any(response.status in (HUNG, BROKEN) for response in during),
    }


def main() -> None:
    """Run the chosen attacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=list(ATTACKS), metavar="ATTACK", help="Default: all.")
    parser.add_argument("--seconds", type=float, default=20, help="Seconds of each phase.")
    parser.add_argument("--rounds", type=int, default=3, help="Pairs of a quiet phase and an attack.")
    parser.add_argument("--clients", type=int, default=4, help="Attackers at the same time.")
    parser.add_argument("--model", default="everyday", help="Model to serve.")
    parser.add_argument("--image", type=Path, default=ROOT / "docs" / "photos" / "cat.jpg", help="Image of the honest client.")
    arguments = parser.parse_args()
    image_bytes, failed = arguments.image.read_bytes(), False
    for name in arguments.only:
        with serving(arguments.model, ["allowed_hosts=*"]) as server:
            result = measure(server, image_bytes, name, arguments)
        failed |= not result["holds"]
        print(json.dumps(result), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
