"""A local web server that simulates faults, an empty cache, and small catalogue entries."""

import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from detector.network.shapes import parameters
from weights.errors import FetchError
from weights.hub import cache
from weights.hub.catalogue import Entry, entry_of, spec_of
from weights.hub.fetch import fetch_entry


@dataclass
class Page:
    """The content under one path, and the server's faults."""

    body: bytes
    etag: str | None = '"first"'
    modified: str | None = None
    content_type: str | None = "application/octet-stream"
    status: int = 200
    ranges: bool = True  # False: ignores Range and sends everything
    cut_after: list[int] = field(default_factory=list)  # for each response: close the connection after this many bytes
    range_shift: int = 0  # a range starts this many bytes too late
    location: str | None = None  # target of a redirect
    encoding: str | None = None  # Content-Encoding
    length: bool = True  # False: no Content-Length; the body ends with the connection
    pause_after: int | None = None  # after this many bytes, set `paused` and wait for `resume`
    paused: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event = field(default_factory=threading.Event)


@dataclass
class ReceivedRequest:
    """A request, and the number of bytes sent in response."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def start(self) -> int:
        """Return the position of the first requested byte."""
        return int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if "Range" in self.headers else 0


class FaultyWebServer(ThreadingHTTPServer):
    """Serves pages by path and records every request. Like Darknet's site, it refuses the user agents of Python libraries."""

    daemon_threads = True
    page = Page  # for tests to create pages

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, Page] = {}
        self.requests: list[ReceivedRequest] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Ignore clients that close the connection early."""


class Handler(BaseHTTPRequestHandler):
    server: FaultyWebServer

    def log_message(self, *args) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        request = ReceivedRequest(self.path, dict(self.headers))
        self.server.requests.append(request)
        page = self.server.pages.get(urlsplit(self.path).path)
        if page is None or re.match(r"(?i)python|$", self.headers.get("User-Agent", "")):
            request.status = 404 if page is None else 403
            self.send_error(request.status)
            return
        start = self._start(page)
        request.status = page.status if page.status != 200 else 416 if start >= len(page.body) else 206 if start else 200
        start += page.range_shift if start else 0
        body = memoryview(page.body)[start:] if request.status != 416 else memoryview(b"")
        self._send_head(page, request.status, start, len(body))
        self._send_body(page, body, request)

    def _start(self, page: Page) -> int:
        requested = self.headers.get("Range")
        is_current = self.headers.get("If-Range") in (None, page.etag, page.modified)
        return int(requested.removeprefix("bytes=").removesuffix("-")) if requested and page.ranges and is_current else 0

    def _send_head(self, page: Page, status: int, start: int, length: int) -> None:
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(page.body) - 1}/{len(page.body)}")
        if page.length:
            self.send_header("Content-Length", str(length))
        headers = {"ETag": page.etag, "Last-Modified": page.modified, "Content-Type": page.content_type}
        headers |= {"Location": page.location, "Content-Encoding": page.encoding}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _send_body(self, page: Page, body: memoryview, request: ReceivedRequest) -> None:
        end = min(page.cut_after.pop(0), len(body)) if page.cut_after else len(body)
        if page.pause_after is not None:
            self._send(body[: min(page.pause_after, end)], request)
            page.paused.set()
            page.resume.wait(60)
        while request.sent < end:
            self._send(body[request.sent : min(request.sent + (1 << 18), end)], request)

    def _send(self, part: memoryview, request: ReceivedRequest) -> None:
        request.sent += len(part)  # before the write: a test may read it as soon as the client has the bytes
        self.wfile.write(part)


@dataclass(frozen=True)
class Home:
    """The cache of one test."""

    folder: Path

    def files(self) -> set[str]:
        """Return the names of its files, except locks."""
        return {path.name for path in self.folder.iterdir() if path.suffix != ".lock"}

    def assert_refused(self, entry: Entry, match: str) -> FetchError:
        """Assert that fetching the entry fails with a message and leaves no file under its name."""
        with pytest.raises(FetchError, match=match) as caught:
            fetch_entry(entry)
        assert not cache.cached_path(entry).exists()
        return caught.value


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("BOXWRIGHT_MIRROR", raising=False)
    monkeypatch.delenv("BOXWRIGHT_OFFLINE", raising=False)
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home" / "weights")


@pytest.fixture
def web_server(home: Home) -> Iterator[FaultyWebServer]:  # noqa: ARG001  for its environment variables
    server = FaultyWebServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        for page in server.pages.values():
            page.resume.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def make_weights() -> Callable[[Entry], bytes]:
    """Return a function (entry) -> a valid file of the entry: a header and seeded numbers in 0..1."""
    numbers = np.random.default_rng(1).random(1 << 18, np.float32).tobytes()

    def make(entry: Entry) -> bytes:
        needed = 4 * parameters(spec_of(entry).network)
        header = struct.pack("<iiiQ", 0, 2, 0, 32) if entry.max_bytes - needed == 20 else struct.pack("<iiii", 0, 1, 0, 32)
        return header + (numbers * (needed // len(numbers) + 1))[:needed]

    return make


@pytest.fixture(scope="session")
def body() -> bytes:
    """The content of `page`."""
    return np.random.default_rng(7).bytes(300_000)


@pytest.fixture(scope="session")
def other_body() -> bytes:
    """Different content of the same length."""
    return np.random.default_rng(8).bytes(300_000)


@pytest.fixture
def page(web_server: FaultyWebServer, body: bytes) -> Page:
    """The page of the entry `small`."""
    return web_server.pages.setdefault("/small.weights", Page(body))


@pytest.fixture
def small_entry(web_server: FaultyWebServer, page: Page) -> Entry:
    """An entry of 300,000 bytes with a published sha256 and one address, where `page` is."""
    hashes = {"sha256": hashlib.sha256(page.body).hexdigest()}
    address = f"{web_server.base}/small.weights"
    return replace(entry_of("darknet19"), name="small", file="small.weights", addresses=(address,), sizes=(len(page.body),), hashes=hashes)


@pytest.fixture
def entry_without_hash(web_server: FaultyWebServer, make_weights: Callable[[Entry], bytes]) -> Entry:
    """An entry without published hashes: a valid file of 25 MB at one address."""
    unsized = replace(entry_of("tiny-yolov2-voc"), name="unpublished", file="unpublished.weights", hashes={}, filters=1)
    size = 20 + 4 * parameters(spec_of(unsized).network)
    entry = replace(unsized, sizes=(size,), addresses=(f"{web_server.base}/unpublished.weights",))
    web_server.pages["/unpublished.weights"] = Page(make_weights(entry))
    return entry


@pytest.fixture
def unreachable() -> Iterator[str]:
    """An address that refuses connections. The port stays bound, so that no other process can use it."""
    with socket.socket() as bound_socket:
        bound_socket.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound_socket.getsockname()[1]}"
