"""Requests and connections of the attacks that `benchmarks.service.attack` runs. They are only for a service on this machine."""

import io
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException

import numpy as np
from PIL import Image

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Attack:
    """The actions of one attacker."""

    run: Callable[[int, threading.Event, "Counter[int]"], None]
    """Attacks a port until the event is set, and counts the statuses of the responses. 0 means no response."""
    prepare: Callable[[], object] = lambda: None


def repeated_post(path: str, make_body: Callable[[], bytes], content_type: str = "application/octet-stream", accept: str = "*/*") -> Attack:
    """Return an attack that posts the same body repeatedly. `prepare` makes the body before the measurement."""
    get_body = cache(make_body)

    def run(port: int, stop: threading.Event, statuses: "Counter[int]") -> None:
        body = get_body()
        while not stop.is_set():
            connection = HTTPConnection(HOST, port, timeout=90)
            try:
                connection.request("POST", path, body, {"Content-Type": content_type, "Accept": accept})
                response = connection.getresponse()
                response.read()
                statuses[response.status] += 1
            except (OSError, HTTPException):
                statuses[0] += 1
            finally:
                connection.close()

    return Attack(run, get_body)


def idle_connections(port: int, stop: threading.Event, statuses: "Counter[int]") -> None:
    """Open up to 200 connections per second, send nothing, and keep only the newest 200 open."""
    held: list[socket.socket] = []
    while not stop.wait(0.005):
        try:
            held.append(socket.create_connection((HOST, port), timeout=5))
        except OSError:
            statuses[0] += 1
        if len(held) > 200:
            held.pop(0).close()
    for connection in held:
        connection.close()


def stalled_uploads(port: int, stop: threading.Event, statuses: "Counter[int]") -> None:
    """Send a form of 20 MB without its last byte, and wait until the service gives up."""
    form = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n'.ljust(20 * 1024**2 - 1024, b"\0")
    head = b"POST /v1/vision/detection HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    while not stop.is_set():
        with socket.create_connection((HOST, port), timeout=60) as connection:
            try:
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(form) + form[:-1])
                statuses[int(connection.recv(4096).split()[1])] += 1
            except (OSError, IndexError):
                statuses[0] += 1


def unread_responses(port: int, stop: threading.Event, statuses: "Counter[int]") -> None:
    """Request a large file many times and never read it."""
    request = b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    while not stop.is_set():
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with connection:
            try:
                connection.connect((HOST, port))
                for _ in range(50):
                    connection.sendall(request)
                stop.wait(20)
            except OSError:
                statuses[0] += 1


def jpeg_with_scans() -> bytes:
    """Return a baseline JPEG of 64 megapixels with 6,000 empty scans."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", subsampling=0)
    source, position, parts = file.getvalue(), 2, [b"\xff\xd8"]
    while source[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(source[position + 2 : position + 4])
        if source[position + 1] in (0xDB, 0xC4):
            parts.append(source[position:end])
        position = end
    frame = struct.pack(">HBHHB", 17, 8, 8000, 8000, 3) + bytes([1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1])
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, 0, 63, 0])
    return b"".join((*parts, b"\xff\xc0", frame, 6000 * scan, b"\xff\xd9"))


def flat_image(image_format: str, side: int = 8000, *, end: int | None = None, **options: object) -> bytes:
    """Return a flat image, optionally without its last bytes."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (90, 120, 150)).save(file, image_format, **options)
    return file.getvalue()[:end]


def noise_jpeg() -> bytes:
    """Return a small JPEG of noise at the lowest quality. Its annotated PNG is large."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (4000, 4000), np.uint8)).save(file, "JPEG", quality=1)
    return file.getvalue()


def tiff_with_large_tiles() -> bytes:
    """Return a TIFF of one row with tiles of two billion pixels each."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(2**20)) for _ in range(2000)) + packer.flush()
    entries = {256: 65535, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1, 284: 1, 322: 65520, 323: 32752, 324: 0, 325: len(pixels)}
    start = 8 + 2 + 12 * len(entries) + 4
    entries[324] = start
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + pixels


def form_of_false_boundaries() -> bytes:
    """Return a form of 19 MB in which almost every byte looks like the start of a boundary."""
    return b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + b"\r\n--x" * 3_800_000 + b"\r\n--x--\r\n"


def json_of_many_values() -> bytes:
    """Return JSON of 10 MB with numbers only."""
    return b'{"images": [' + b"1," * 5_000_000 + b"1]}"


ATTACKS: Mapping[str, Attack] = {
    "JPEG with 6,000 scans": repeated_post("/detect", jpeg_with_scans),
    "progressive JPEG, 64 megapixels": repeated_post("/detect", lambda: flat_image("JPEG", progressive=True)),
    "progressive JPEG without end, 64 megapixels": repeated_post("/detect", lambda: flat_image("JPEG", end=-2, progressive=True)),
    "PNG, 64 megapixels, drawn as PNG": repeated_post("/detect?format=both", lambda: flat_image("PNG"), accept="image/png"),
    "lossless WebP, 64 megapixels": repeated_post("/detect", lambda: flat_image("WEBP", lossless=True)),
    "noise, drawn as PNG": repeated_post("/detect?format=both", noise_jpeg, accept="image/png"),
    "TIFF with large tiles": repeated_post("/detect", tiff_with_large_tiles),
    "form of false boundaries": repeated_post("/detect", form_of_false_boundaries, "multipart/form-data; boundary=x"),
    "JSON of 5 million values": repeated_post("/detect", json_of_many_values, "application/json"),
    "stalled uploads": Attack(stalled_uploads),
    "idle connections": Attack(idle_connections),
    "unread responses": Attack(unread_responses),
}
