"""A client that costs little beside the server it measures: HTTP/1.1 over asyncio, by hand, and the server as a process of its own."""

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

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0
"""Seconds; whoever has no answer by then counts as hanging."""

HUNG = 0
BROKEN = -1


@dataclass(frozen=True)
class Told:
    """One answer."""

    status: int  # or HUNG, BROKEN
    due: float
    seconds: float  # from then to the answer's end
    lag: float  # from then until the client came to send it: its own machine's fault, not the server's


@dataclass(frozen=True)
class Server:
    """A running service."""

    popen: "subprocess.Popen[bytes]"
    port: int

    @property
    def process(self) -> int:
        """Its number."""
        return self.popen.pid

    def resident(self) -> float:
        """MiB."""
        status = Path(f"/proc/{self.process}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def cpu_seconds(self) -> float:
        """Of processors that it has used so far: unlike the clock, nobody else's work is in it."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def post(self, photo: bytes, due: float) -> Told:
        """One request on a connection of its own, late or not: its time counts from when it was due."""
        status, lag = HUNG, time.perf_counter() - due
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self._exchange(photo)
        except TimeoutError:
            pass  # HUNG
        except (OSError, asyncio.IncompleteReadError):
            status = BROKEN
        return Told(status, due, time.perf_counter() - due, lag)

    async def _exchange(self, photo: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            status, _ = await exchange(reader, writer, photo, b"Connection: close\r\n")
            return status
        finally:
            writer.close()

    async def dribble(self, ready: asyncio.Event) -> None:
        """A request whose body comes at one byte a second, again from the start whenever the server cuts it off; until cancelled."""
        head = b"POST /detect HTTP/1.1\r\nHost: bench\r\nContent-Length: 100000\r\n\r\n"
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


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, photo: bytes, headers: bytes = b"") -> tuple[int, bytes]:
    """The photo sent, and the answer: its status and body. Raises OSError, IncompleteReadError where the connection breaks."""
    writer.write(b"POST /detect HTTP/1.1\r\nHost: bench\r\n%sContent-Length: %d\r\n\r\n" % (headers, len(photo)) + photo)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split()[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head.split()[1]), await reader.readexactly(length)


@contextmanager
def serving(model: str, settings: list[str]) -> Iterator[Server]:
    """A `boxwright serve` of its own; settings: as for --set."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
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
    """What /readyz says; no where there is no answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
