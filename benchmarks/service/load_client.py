"""Minimal HTTP/1.1 client on asyncio streams, cheap compared with the server that it measures, and the server's subprocess."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.paths import ROOT

REQUEST_TIMEOUT = 60.0
"""A request without a response by then counts as hung."""

HUNG = 0
BROKEN = -1


@dataclass(frozen=True)
class Response:
    """Status and timing of one response."""

    status: int  # or HUNG, BROKEN
    due: float
    seconds: float  # from the due time to the end of the response
    lag: float  # from the due time to the sending: the client's own delay


@dataclass(frozen=True)
class Server:
    """A running service."""

    popen: "subprocess.Popen[bytes]"
    port: int

    @property
    def process(self) -> int:
        """The process id."""
        return self.popen.pid

    def resident(self) -> float:
        """Return the resident memory in MiB."""
        status = Path(f"/proc/{self.process}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def cpu_seconds(self) -> float:
        """Return the processor seconds used so far, which exclude the work of other programs."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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


@contextmanager
def serving(model: str, settings: list[str]) -> Iterator[Server]:
    """Run a `boxwright serve` process with settings in the form of --set, and yield it once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    flags = [part for setting in ["notice_seconds=0", *settings] for part in ("--set", setting)]
    command = [sys.executable, "-m", "cli.main", "serve", "--model", model, "--port", str(port), *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOXWRIGHT_")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not is_ready(port):
                if process.poll() is not None:
                    sys.exit(f"{' '.join(command)}: ended with code {process.returncode} before it was ready.")
                time.sleep(0.02)
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
