"""Measure latency, goodput and memory of a `boxwright serve` process under open-loop load over real sockets.

python -m benchmarks.service.load [--only steady overload slow soak ending] [--seconds 60] [--model NAME_OR_FILE] [--image FILE]

Each request is sent when it is due, even if earlier ones are unanswered, and its latency counts from the due time.
All scenarios except soak first measure the capacity with closed-loop clients. The client shares the cores with the server.
`claims` lists the claims of each scenario and whether they hold. The exit code is 1 if one does not hold.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, versions
from benchmarks.paths import ROOT
from benchmarks.service.load_claims import verdicts
from benchmarks.service.load_client import BROKEN, HUNG, REQUEST_TIMEOUT, Response, Server, is_ready, latencies, serving

CLIENTS = 4
ROUNDS = 5
SLOW_CLIENTS = 200
WARM_REQUESTS = 2000
SCENARIOS = ["steady", "overload", "slow", "soak", "ending"]
PACKAGES = ("fastapi", "numpy", "onnxruntime", "pillow", "uvicorn")


class Load:
    """One server and one image. Each scenario method returns its measurements."""

    def __init__(self, server: Server, image_bytes: bytes, arguments: argparse.Namespace) -> None:
        self.server, self.image_bytes = server, image_bytes
        self.seconds: float = arguments.seconds
        self.soak_requests: int = arguments.soak_requests

    async def closed(self, requests: Iterator[int]) -> list[Response]:
        """Run closed-loop clients, which send the next request after each response, until their shared iterator ends."""

        async def client() -> list[Response]:
            return [await self.server.post(self.image_bytes, time.perf_counter()) for _ in requests]

        return [response for responses in await asyncio.gather(*(client() for _ in range(CLIENTS))) for response in responses]

    async def open(self, rate: float, seconds: float, *, random_gaps: bool = False) -> list[Response]:
        """Send `rate` requests per second, evenly spaced or as a Poisson process."""
        rng, tasks, due = random.Random(1), [], time.perf_counter()
        end = due + seconds
        while due < end:
            await asyncio.sleep(due - time.perf_counter())
            tasks.append(asyncio.create_task(self.server.post(self.image_bytes, due)))
            due += rng.expovariate(rate) if random_gaps else 1 / rate
        return await asyncio.gather(*tasks)

    async def cost(self, load: Awaitable[list[Response]]) -> tuple[list[Response], float]:
        """Return the responses, and the server's processor milliseconds per successful response."""
        before = self.server.cpu_seconds()
        responses = await load
        successful = sum(response.status == 200 for response in responses)
        return responses, round(1000 * (self.server.cpu_seconds() - before) / max(1, successful), 2)

    async def capacity(self) -> float:
        """Return the number of responses per second of closed-loop clients."""
        seconds = max(3.0, self.seconds / 5)
        started = time.perf_counter()
        responses = await self.closed(ticks(seconds))
        return len(responses) / (time.perf_counter() - started)

    async def steady(self) -> dict[str, Any]:
        """Measure p99 relative to p50 at 0.8 of the capacity, with evenly spaced and with Poisson arrivals.

        Each round measures the capacity again, because it drifts on a machine that other programs use.
        """
        result: dict[str, Any] = {}
        for name, random_gaps in (("even", False), ("poisson", True)):
            responses, rounds = [], []
            for _ in range(ROUNDS):
                capacity = await self.capacity()
                round_responses = await self.open(0.8 * capacity, self.seconds / ROUNDS, random_gaps=random_gaps)
                times = latencies(response.seconds for response in round_responses)
                rounds.append({"capacity": round(capacity, 2), **times, "p99_to_p50": round(times["p99_ms"] / times["p50_ms"], 2)})
                responses += round_responses
            ratio = statistics.median(each["p99_to_p50"] for each in rounds)
            result[name] = {"p99_to_p50": ratio, "rounds": rounds, "statuses": statuses(responses)}
        return result

    async def overload(self) -> dict[str, Any]:
        """Measure goodput, time to refusal and recovery time at three times the capacity."""
        before = await self.capacity()
        idle = statistics.median(response.seconds for response in await self.open(before / 4, 3))
        _, cost_alone = await self.cost(self.closed(ticks(max(3.0, self.seconds / 5))))
        flood = asyncio.create_task(self.cost(self.open(3 * before, self.seconds)))
        await asyncio.sleep(self.seconds)
        ended = time.perf_counter()
        probes = await self.open(before / 4, 6)
        responses, cost = await flood
        after = await self.capacity()
        successful = [response for response in responses if response.status == 200 and response.due + response.seconds <= ended]
        refused = [response for response in responses if response.status == 503]
        goodput = len(successful) / self.seconds
        return {
            "capacity_before_and_after": [round(before, 2), round(after, 2)],
            "goodput": round(goodput, 2),
            "goodput_to_capacity": round(goodput / statistics.mean((before, after)), 3),
            "cpu_ms_per_response": {"at_capacity": cost_alone, "overloaded": cost},
            "refused": latencies(response.seconds for response in refused),
            "refused_after_sending": latencies(response.seconds - response.lag for response in refused),
            "client_lag": latencies(response.lag for response in responses),
            "successful": latencies(response.seconds for response in successful),
            "statuses": statuses(responses),
            "idle_p50_ms": round(1000 * idle, 1),
            "recovery_seconds": recovery_seconds(probes, ended, 2 * idle),
        }

    async def slow(self) -> dict[str, Any]:
        """Alternately measure latency at half the capacity with and without clients that send one byte per second."""
        capacity = await self.capacity()
        times: dict[bool, list[Response]] = {False: [], True: []}
        costs: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(3):
            for slow in (False, True):
                responses, cost = await self.cost(self._with_slow_clients(capacity / 2, SLOW_CLIENTS if slow else 0))
                times[slow] += responses
                costs[slow].append(cost)
        without, with_slow = (latencies(response.seconds for response in times[slow]) for slow in (False, True))
        ratios = {f"{name}_ratio": round(with_slow[name] / without[name], 3) for name in ("p50_ms", "p99_ms")}
        cpu = {"without": statistics.median(costs[False]), "with_slow": statistics.median(costs[True])}
        measured = {"without": without, "with_slow": with_slow, **ratios, "cpu_ms_per_response": cpu}
        return {"slow_clients": SLOW_CLIENTS, **measured, "statuses": statuses(times[True])}

    async def _with_slow_clients(self, rate: float, clients: int) -> list[Response]:
        ready = [asyncio.Event() for _ in range(clients)]
        slow = [asyncio.create_task(self.server.dribble(event)) for event in ready]
        await asyncio.gather(*(event.wait() for event in ready))
        responses = await self.open(rate, self.seconds / 3)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return responses

    async def ending(self) -> dict[str, Any]:
        """Send SIGTERM while the load is twice the capacity. Like a load balancer, the client sends requests until /readyz fails."""
        capacity = await self.capacity()
        flood = asyncio.create_task(self._until_not_ready(2 * capacity))
        await asyncio.sleep(min(10.0, self.seconds / 2))
        signalled_at = time.perf_counter()
        self.server.popen.terminate()
        responses = await flood
        code = await asyncio.to_thread(self.server.popen.wait, REQUEST_TIMEOUT)
        after = [response for response in responses if response.due > signalled_at]
        took = round(time.perf_counter() - signalled_at, 2)
        return {"statuses": statuses(responses), "sent_after_the_signal": len(after), "exit_code": abs(code), "seconds_until_gone": took}

    async def _until_not_ready(self, rate: float) -> list[Response]:
        tasks, due = [], time.perf_counter()
        ready = asyncio.create_task(self._watch_ready())
        while not ready.done():
            await asyncio.sleep(due - time.perf_counter())
            tasks.append(asyncio.create_task(self.server.post(self.image_bytes, due)))
            due += 1 / rate
        return await asyncio.gather(*tasks)

    async def _watch_ready(self) -> None:
        while await asyncio.to_thread(is_ready, self.server.port):
            await asyncio.sleep(0.05)

    async def soak(self) -> dict[str, Any]:
        """Compare the resident memory after the first requests with that after all requests."""
        warm = min(WARM_REQUESTS, self.soak_requests // 2)
        first = await self.closed(iter(range(warm)))
        resident_early = self.server.resident()
        rest = await self.closed(iter(range(self.soak_requests - warm)))
        resident_late = self.server.resident()
        resident = {f"after_{warm}": round(resident_early, 1), f"after_{self.soak_requests}": round(resident_late, 1)}
        return {"resident_mib": resident, "growth": round(resident_late / resident_early - 1, 4), "statuses": statuses(first + rest)}


def recovery_seconds(probes: Sequence[Response], ended: float, limit: float) -> float:
    """Return the seconds from `ended` to the end of the last half-second window with a median latency above `limit`, or 0."""
    halves: dict[int, list[float]] = {}
    for response in probes:
        halves.setdefault(int((response.due - ended) / 0.5), []).append(response.seconds if response.status == 200 else REQUEST_TIMEOUT)
    return max((0.5 * (half + 1) for half, times in halves.items() if statistics.median(times) > limit), default=0.0)


def ticks(seconds: float) -> Iterator[int]:
    """Yield 0, 1, 2, ... until the time has passed."""
    end, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        yield number
        number += 1


def statuses(responses: Sequence[Response]) -> dict[str, int]:
    """Return the number of responses by status."""
    names = {HUNG: "hung", BROKEN: "broken"}
    return {names.get(status, str(status)): number for status, number in sorted(Counter(response.status for response in responses).items())}


async def measure(server: Server, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen scenarios and return their measurements by name."""
    load = Load(server, Path(arguments.image).read_bytes(), arguments)
    await load.closed(iter(range(20)))  # warm-up
    scenarios = {"steady": load.steady, "overload": load.overload, "slow": load.slow, "soak": load.soak, "ending": load.ending}
    return {name: await scenarios[name]() for name in arguments.only}


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--image", default=str(ROOT / "docs" / "photos" / "cat.jpg"))
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=SCENARIOS, help="scenarios to run, always in this order")
    parser.add_argument("--seconds", type=float, default=60, help="duration of each scenario except soak and ending")
    parser.add_argument("--soak-requests", type=int, default=20_000)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a setting of the service")
    arguments = parser.parse_args()
    arguments.only = [name for name in SCENARIOS if name in arguments.only]
    with serving(arguments.model, _service_settings(arguments)) as server:
        measured = asyncio.run(measure(server, arguments))
    claims = {name: verdicts(name, result) for name, result in measured.items()}
    result = {
        "benchmark": "load",
        "model": Path(arguments.model).name,
        "seconds": arguments.seconds,
        "settings": arguments.settings,
        **measured,
        "claims": claims,
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    print(json.dumps(result))
    sys.exit(0 if all(claim["holds"] for some in claims.values() for claim in some) else 1)


def _service_settings(arguments: argparse.Namespace) -> list[str]:
    """Add a notice period for the ending scenario, the only one that observes the shutdown."""
    return [*arguments.settings, *(["notice_seconds=1"] if "ending" in arguments.only else [])]


if __name__ == "__main__":
    main()
