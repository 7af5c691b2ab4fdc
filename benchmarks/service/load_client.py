"""A minimal HTTP/1.1 client, which needs little time compared with the server that it measures, and the server's subprocess."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

from benchmarks.machine import cpu_seconds, free_ports, resident_mib
from benchmarks.paths import ROOT

REQUEST_TIMEOUT = 60.0
"""A request without a response after this time counts as hung."""

HUNG = 0
BROKEN = -1


@dataclass(frozen=True)
class Response:
    """Status and timing of one response."""

    status: int  # or HUNG, BROKEN
    due: float
    seconds: float  # from the due time to the end of the response
    lag: float  # from the due time to sending: the delay of the client


@dataclass(frozen=True)
class Server:
    """A running service."""

    popen: "subprocess.Popen[bytes]"
    port: int

    def resident(self) -> float:
        """Return the resident memory in MiB."""
        return resident_mib(self.popen.pid)

    def cpu_seconds(self) -> float:
        """Return the processor seconds used so far."""
        return cpu_seconds(self.popen.pid)

    async def post(self, image_bytes: bytes, due: float) -> Response:
        """Send one request on a new connection. Its latency counts from the due time."""
        status, lag = HUNG, time.perf_counter() - due
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                status = await self._exchange(image_bytes)
        except TimeoutError:
            pass  # HUNG
        except (OSError, asyncio.IncompleteReadError):
            status = BROKEN
        return Response(status, due, time.perf_counter() - due, lag)

    async def _exchange(self, image_bytes: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            status, _ = await exchange(reader, writer, image_bytes, b"Connection: close\r\n")
            return status
        finally:
            writer.close()

    async def dribble(self, ready: asyncio.Event) -> None:
        """Send a request body at one byte per second until cancelled. Start again when the server closes the connection."""
        head = b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(head)
                ready.set()
                while not writer.is_closing():
                    writer.write(b"\xff")
                    await writer.drain()
                    await asyncio.sleep(1)
            except OSError:
                continue
            finally:
                writer.close()


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, image_bytes: bytes, headers: bytes = b""
) -> tuple[int, bytes]:
    """Send the image and return status and body of the response.

    Raises:
        OSError, asyncio.IncompleteReadError: The connection breaks.
    """
    writer.write(b"POST /detect HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n" % (headers, len(image_bytes)) + image_bytes)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split()[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head.split()[1]), await reader.readexactly(length)


def latencies(seconds: Iterable[float]) -> dict[str, float]:
    """Return the median, 99th percentile and maximum in milliseconds; empty without latencies."""
    times = sorted(1000 * each for each in seconds)
    if not times:
        return {}
    p99 = times[int(0.99 * len(times))]
    return {"p50_ms": round(statistics.median(times), 1), "p99_ms": round(p99, 1), "max_ms": round(times[-1], 1)}


@contextmanager
def serving(model: str, settings: list[str], variables: Mapping[str, str] = {}) -> Iterator[Server]:
    """Run a `boxwright serve` process, and yield it once it is ready.

    Args:
        model: The model to serve.
        settings: Settings in the form of --set.
        variables: Environment variables of Boxwright. Those of this process are removed.
    """
    (port,) = free_ports(1)
    flags = [part for setting in ["notice_seconds=0", *settings] for part in ("--set", setting)]
    command = [sys.executable, "-m", "cli.main", "serve", "--model", model, "--port", str(port), *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOXWRIGHT_")} | dict(variables)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not is_ready(port):
                if process.poll() is not None:
                    sys.exit(f"{' '.join(command)}: ended with code {process.returncode} before it was ready.")
                time.sleep(0.005)
            yield Server(process, port)
        finally:
            process.terminate()


def is_ready(port: int) -> bool:
    """Return whether /readyz answers 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
