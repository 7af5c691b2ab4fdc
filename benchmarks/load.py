"""What becomes of latency, goodput and memory under load: an open loop against a `boxwright serve` of its own, over real sockets.

python -m benchmarks.load [--only steady overload slow soak ending] [--seconds 60] [--model NAME_OR_FILE] [--photo FILE]

Requests are sent when they are due, whether or not earlier ones have been answered, and their time counts from then. Capacity is
measured before each scenario, by clients that ask again as soon as they are answered. The client shares the cores with the server.
`claims` says of each scenario what is claimed and whether it holds; the exit code is 1 if one does not.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.load_claims import verdicts
from benchmarks.load_client import BROKEN, HUNG, PATIENCE, ROOT, Server, Told, is_ready, serving

CLIENTS = 4
ROUNDS = 5
SLOW_CLIENTS = 200
WARM_REQUESTS = 2000
SCENARIOS = ["steady", "overload", "slow", "soak", "ending"]
PACKAGES = ("fastapi", "numpy", "onnxruntime", "pillow", "uvicorn")


class Load:
    """One server and one photo. Each scenario answers what it measured."""

    def __init__(self, server: Server, photo: bytes, arguments: argparse.Namespace) -> None:
        self.server, self.photo = server, photo
        self.seconds: float = arguments.seconds
        self.soak_requests: int = arguments.soak_requests

    async def closed(self, requests: Iterator[int]) -> list[Told]:
        """A few clients, each asking again as soon as it is answered, until the iterator they share ends."""

        async def one() -> list[Told]:
            return [await self.server.post(self.photo, time.perf_counter()) for _ in requests]

        return [told for some in await asyncio.gather(*(one() for _ in range(CLIENTS))) for told in some]

    async def open(self, rate: float, seconds: float, *, random_gaps: bool = False) -> list[Told]:
        """`rate` requests a second, evenly or as a Poisson process."""
        dice, tasks, due = random.Random(1), [], time.perf_counter()
        end = due + seconds
        while due < end:
            await asyncio.sleep(due - time.perf_counter())
            tasks.append(asyncio.create_task(self.server.post(self.photo, due)))
            due += dice.expovariate(rate) if random_gaps else 1 / rate
        return await asyncio.gather(*tasks)

    async def cost(self, load: Awaitable[list[Told]]) -> tuple[list[Told], float]:
        """What was told, and the server's processor milliseconds for each photo answered."""
        before = self.server.cpu_seconds()
        told = await load
        answered = sum(one.status == 200 for one in told)
        return told, round(1000 * (self.server.cpu_seconds() - before) / max(1, answered), 2)

    async def capacity(self) -> float:
        """Answers a second."""
        seconds = max(3.0, self.seconds / 5)
        started = time.perf_counter()
        told = await self.closed(ticks(seconds))
        return len(told) / (time.perf_counter() - started)

    async def steady(self) -> dict[str, Any]:
        """At 0.8 of capacity: how much later the late answers come. Twice: evenly spaced, and as strangers come, at random.

        In rounds, each with its own capacity, as that of a machine that others use too does not stay what it was for a minute.
        """
        result: dict[str, Any] = {}
        for name, random_gaps in (("even", False), ("poisson", True)):
            told, rounds = [], []
            for _ in range(ROUNDS):
                capacity = await self.capacity()
                some = await self.open(0.8 * capacity, self.seconds / ROUNDS, random_gaps=random_gaps)
                times = latencies(some)
                rounds.append({"capacity": round(capacity, 2), **times, "p99_by_p50": round(times["p99_ms"] / times["p50_ms"], 2)})
                told += some
            ratio = statistics.median(each["p99_by_p50"] for each in rounds)
            result[name] = {"p99_by_p50": ratio, "rounds": rounds, "statuses": statuses(told)}
        return result

    async def overload(self) -> dict[str, Any]:
        """At three times capacity: what is still answered, how soon the rest is refused, and how soon all is well again."""
        before = await self.capacity()
        idle = statistics.median(one.seconds for one in await self.open(before / 4, 3))
        _, cost_alone = await self.cost(self.closed(ticks(max(3.0, self.seconds / 5))))
        flood = asyncio.create_task(self.cost(self.open(3 * before, self.seconds)))
        await asyncio.sleep(self.seconds)
        ended = time.perf_counter()
        probes = await self.open(before / 4, 6)
        told, cost = await flood
        after = await self.capacity()
        answered = [one for one in told if one.status == 200 and one.due + one.seconds <= ended]
        refused = [one for one in told if one.status == 503]
        goodput = len(answered) / self.seconds
        return {
            "capacity_before_and_after": [round(before, 2), round(after, 2)],
            "goodput": round(goodput, 2),
            "goodput_by_capacity": round(goodput / statistics.mean((before, after)), 3),
            "cpu_ms_by_answer": {"at_capacity": cost_alone, "overloaded": cost},
            "refused": latencies(refused),
            "refused_from_sending": latencies([replace(one, seconds=one.seconds - one.lag) for one in refused]),
            "client_lag": latencies([replace(one, seconds=one.lag) for one in told]),
            "answered": latencies(answered),
            "statuses": statuses(told),
            "idle_p50_ms": round(1000 * idle, 1),
            "seconds_until_twice_that_again": recovery(probes, ended, 2 * idle),
        }

    async def slow(self) -> dict[str, Any]:
        """Latency at half of capacity, without and with clients that send a byte a second, in turns."""
        capacity = await self.capacity()
        times: dict[bool, list[Told]] = {False: [], True: []}
        costs: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(3):
            for slow in (False, True):
                told, cost = await self.cost(self._beside_slow_clients(capacity / 2, SLOW_CLIENTS if slow else 0))
                times[slow] += told
                costs[slow].append(cost)
        alone, beside = latencies(times[False]), latencies(times[True])
        ratios = {f"{name}_ratio": round(beside[name] / alone[name], 3) for name in ("p50_ms", "p99_ms")}
        cpu = {"alone": statistics.median(costs[False]), "beside": statistics.median(costs[True])}
        measured = {"alone": alone, "beside": beside, **ratios, "cpu_ms_by_answer": cpu}
        return {"slow_clients": SLOW_CLIENTS, **measured, "statuses": statuses(times[True])}

    async def _beside_slow_clients(self, rate: float, clients: int) -> list[Told]:
        ready = [asyncio.Event() for _ in range(clients)]
        slow = [asyncio.create_task(self.server.dribble(event)) for event in ready]
        await asyncio.gather(*(event.wait() for event in ready))
        told = await self.open(rate, self.seconds / 3)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return told

    async def ending(self) -> dict[str, Any]:
        """SIGTERM at twice the capacity. As a load balancer would, the client sends until /readyz says no. Then the service is gone."""
        capacity = await self.capacity()
        flood = asyncio.create_task(self._until_not_ready(2 * capacity))
        await asyncio.sleep(min(10.0, self.seconds / 2))
        told_at = time.perf_counter()
        self.server.popen.terminate()
        told = await flood
        code = await asyncio.to_thread(self.server.popen.wait, PATIENCE)
        after = [one for one in told if one.due > told_at]
        took = round(time.perf_counter() - told_at, 2)
        return {"statuses": statuses(told), "sent_after_the_signal": len(after), "exit_code": abs(code), "seconds_until_gone": took}

    async def _until_not_ready(self, rate: float) -> list[Told]:
        tasks, due = [], time.perf_counter()
        ready = asyncio.create_task(self._watch_ready())
        while not ready.done():
            await asyncio.sleep(due - time.perf_counter())
            tasks.append(asyncio.create_task(self.server.post(self.photo, due)))
            due += 1 / rate
        return await asyncio.gather(*tasks)

    async def _watch_ready(self) -> None:
        while await asyncio.to_thread(is_ready, self.server.port):
            await asyncio.sleep(0.05)

    async def soak(self) -> dict[str, Any]:
        """Resident memory after the first requests and after all of them."""
        warm = min(WARM_REQUESTS, self.soak_requests // 2)
        first = await self.closed(iter(range(warm)))
        early = self.server.resident()
        rest = await self.closed(iter(range(self.soak_requests - warm)))
        late = self.server.resident()
        resident = {f"after_{warm}": round(early, 1), f"after_{self.soak_requests}": round(late, 1)}
        return {"resident_mib": resident, "growth": round(late / early - 1, 4), "statuses": statuses(first + rest)}


def recovery(probes: Sequence[Told], ended: float, usual: float) -> float:
    """When, in seconds after `ended`, the last half second was over in which the median answer took more than `usual`; 0 if none was."""
    halves: dict[int, list[float]] = {}
    for one in probes:
        halves.setdefault(int((one.due - ended) / 0.5), []).append(one.seconds if one.status == 200 else PATIENCE)
    return max((0.5 * (half + 1) for half, times in halves.items() if statistics.median(times) > usual), default=0.0)


def ticks(seconds: float) -> Iterator[int]:
    """0, 1, 2 ... for so long."""
    end, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        yield number
        number += 1


def latencies(told: Sequence[Told]) -> dict[str, float]:
    """Median, 99th percentile and worst, in milliseconds."""
    if not told:
        return {}
    times = sorted(1000 * one.seconds for one in told)
    return {
        "p50_ms": round(statistics.median(times), 1),
        "p99_ms": round(times[int(0.99 * len(times))], 1),
        "worst_ms": round(times[-1], 1),
    }


def statuses(told: Sequence[Told]) -> dict[str, int]:
    """How many of each."""
    names = {HUNG: "hung", BROKEN: "broken"}
    return {names.get(status, str(status)): number for status, number in sorted(Counter(one.status for one in told).items())}


async def measure(server: Server, arguments: argparse.Namespace) -> dict[str, Any]:
    """Scenario -> what it measured."""
    load = Load(server, Path(arguments.photo).read_bytes(), arguments)
    await load.closed(iter(range(20)))  # warm
    scenarios = {"steady": load.steady, "overload": load.overload, "slow": load.slow, "soak": load.soak, "ending": load.ending}
    return {name: await scenarios[name]() for name in arguments.only}


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--photo", default=str(ROOT / "docs" / "photos" / "cat.jpg"))
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=SCENARIOS, help="ending, if it is there, comes last")
    parser.add_argument("--seconds", type=float, default=60, help="of each scenario but the soak and the ending")
    parser.add_argument("--soak-requests", type=int, default=20_000)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a setting of the service")
    arguments = parser.parse_args()
    arguments.only = [name for name in SCENARIOS if name in arguments.only]
    with serving(arguments.model, _notice(arguments)) as server:
        measured = asyncio.run(measure(server, arguments))
    claims = {name: verdicts(name, result) for name, result in measured.items()}
    result = {
        "benchmark": "load",
        "model": Path(arguments.model).name,
        "seconds": arguments.seconds,
        "settings": arguments.settings,
        **measured,
        "claims": claims,
        "machine": {"cores": len(os.sched_getaffinity(0)), "load_average": os.getloadavg()[0], "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))
    sys.exit(0 if all(claim["holds"] for some in claims.values() for claim in some) else 1)


def _notice(arguments: argparse.Namespace) -> list[str]:
    """Settings: an ending that somebody watches gives notice, as it does by default; else nobody waits for it."""
    return [*arguments.settings, *(["notice_seconds=1"] if "ending" in arguments.only else [])]


if __name__ == "__main__":
    main()
