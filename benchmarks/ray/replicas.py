"""Compare the throughput of several Ray Serve replicas, one core each, with that of one replica.

python -m benchmarks.ray.replicas [--replicas 2] [--rounds 5] [--seconds 20] [--model NAME_OR_FILE] [--image FILE] [--free]

One Ray cluster alternately runs one replica and several. Closed-loop clients send the same image over persistent connections.
Each replica is pinned to its own core. With --free none is pinned, so that a single replica can use parts of a second core.
The proxy, the clients and Ray's own processes are not pinned. The result includes the processor time per image of each group of processes.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.machine import cpu_seconds, free_ports, machine, versions
from benchmarks.paths import ROOT
from service.ray.environment import configure_ray_environment

WARM_SECONDS = 3.0
PACKAGES = ("ray", "onnxruntime", "numpy", "pillow", "uvicorn")
REPLICA = "ServeReplica"
CLIENT = "the clients"


def main() -> None:
    """Print one JSON line."""
    arguments = _arguments()
    os.environ["BOXWRIGHT_LOG_LEVEL"] = "warning"  # Ray passes each line of the access log through three processes
    configure_ray_environment(serving=True)
    from service.ray.cluster import ray_cluster

    with ray_cluster(show_logs=False):
        rounds = [_round(arguments) for _ in range(arguments.rounds)]
    rates = {number: statistics.median(each[number]["images_per_second"] for each in rounds) for number in rounds[0]}
    ratios = [each[arguments.replicas]["images_per_second"] / each[1]["images_per_second"] for each in rounds]
    result = {
        "benchmark": "ray_replicas",
        "model": Path(arguments.model).name,
        "pinned_to_cores": not arguments.free,
        "seconds": arguments.seconds,
        "clients": arguments.clients,
        "images_per_second": {str(number): round(rate, 2) for number, rate in rates.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_ms_per_image": {str(number): rounds[-1][number]["cpu_ms_per_image"] for number in rounds[-1]},
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="duration of each measurement")
    parser.add_argument("--clients", type=int, default=6, help="number of connections, each with one request at a time")
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--image", default=str(ROOT / "docs" / "photos" / "cat.jpg"))
    parser.add_argument("--port", type=int, default=free_ports(1)[0], help="default: a free port")
    parser.add_argument("--free", action="store_true", help="do not pin replicas to cores")
    return parser.parse_args()


def _round(arguments: argparse.Namespace) -> dict[int, dict[str, Any]]:
    return {number: _measure(arguments, number) for number in (1, arguments.replicas)}


def _measure(arguments: argparse.Namespace, number: int) -> dict[str, Any]:
    from service.ray.server import deploy
    from service.ray.settings import RaySettings
    from service.settings import read_settings

    settings = read_settings(model=arguments.model, port=arguments.port)
    deploy(settings, RaySettings(replicas=str(number)), number)
    replicas = _wait_for_replicas(number)
    if not arguments.free:
        for core, replica in zip(cycle(sorted(os.sched_getaffinity(0))), replicas, strict=False):
            _pin(replica, core)
    image_bytes = Path(arguments.image).read_bytes()
    asyncio.run(_count_responses(settings.port, image_bytes, arguments.clients, WARM_SECONDS))
    before, started = _cpu_seconds(), time.perf_counter()
    responses = asyncio.run(_count_responses(settings.port, image_bytes, arguments.clients, arguments.seconds))
    elapsed, after = time.perf_counter() - started, _cpu_seconds()
    cpu_ms = {group: round(1000 * (after[group] - before[group]) / responses, 2) for group in after}
    return {"images_per_second": responses / elapsed, "cpu_ms_per_image": cpu_ms}


async def _count_responses(port: int, image_bytes: bytes, clients: int, seconds: float) -> int:
    """Run closed-loop clients and return the number of responses. Exit if one is not 200."""
    request = b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image_bytes) + image_bytes
    end = time.perf_counter() + seconds

    async def client() -> int:
        responses = 0
        while time.perf_counter() < end:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(asyncio.IncompleteReadError, ConnectionError):  # HAProxy closes existing connections when a replica starts
                while time.perf_counter() < end:
                    writer.write(request)
                    await _read_response(reader)
                    responses += 1
            writer.close()
        return responses

    return sum(await asyncio.gather(*(client() for _ in range(clients))))


async def _read_response(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split()[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    if b" 200 " not in head[:16]:
        raise SystemExit(f"the service answered {head[:40]!r}: {body[:200]!r}")


def _wait_for_replicas(number: int) -> list[int]:
    """Wait until exactly that many replicas run and return their process ids."""
    while len(replicas := [pid for pid, name in _descendants() if REPLICA in name]) != number:
        time.sleep(0.2)
    time.sleep(1)
    return sorted(replicas)


def _pin(process: int, core: int) -> None:
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _cpu_seconds() -> dict[str, float]:
    """Return the processor seconds used so far by replicas, proxy, client (this process) and Ray's other processes."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for pid, name in [*_descendants(), (os.getpid(), CLIENT)]:
        with suppress(OSError):  # the process has just ended
            seconds[_group(name)] += cpu_seconds(pid)
    return seconds


def _group(name: str) -> str:
    if name == CLIENT:
        return "client"
    if REPLICA in name:
        return "replicas"
    return "proxy" if "bin/haproxy" in name or "ProxyActor" in name else "ray"


def _descendants() -> Iterator[tuple[int, str]]:
    """Yield process id and command line of every direct or indirect child process."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
        except OSError:  # the process has just ended
            continue
    for pid in parents:
        ancestor = pid
        while (ancestor := parents.get(ancestor, 0)) > 1:
            if ancestor == os.getpid():
                yield pid, names.get(pid, "")


if __name__ == "__main__":
    main()
