"""Slow clients and endless requests: a real process disconnects them and serves the other clients."""

import json
import socket
from contextlib import suppress

import httpx
import pytest

HEAD = b"POST /detect HTTP/1.1\r\nHost: localhost\r\n"
SHORT = {"BOXWRIGHT_HEAD_SECONDS": "0.4", "BOXWRIGHT_BODY_SECONDS": "0.6"}


@pytest.fixture(scope="module")
def service_with_short_timeouts(start_service, model_file):
    service = start_service(model_file, **SHORT)
    yield service
    service.stop()


def receive_until_closed(port, sent, *more):
    """Send these bytes. Return everything that the service sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        received = b""
        try:
            client.sendall(sent)
            for piece in more:
                client.sendall(piece)
            while part := client.recv(65536):
                received += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # the service closed the connection while data was in flight
        return received


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_connection_without_a_request_is_closed(service_with_short_timeouts, sent):
    assert receive_until_closed(service_with_short_timeouts.port, sent) == b""


@pytest.mark.parametrize("sent", [b"POST /det", HEAD, HEAD + b"X-Endless: on and on"], ids=["path", "headers", "a header"])
def test_incomplete_head_is_answered_408(service_with_short_timeouts, sent):
    assert receive_until_closed(service_with_short_timeouts.port, sent).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n5\r\nahalf\r\n"])
def test_incomplete_body_is_answered_408(service_with_short_timeouts, framing):
    received = receive_until_closed(service_with_short_timeouts.port, HEAD + framing)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["type"] == "urn:boxwright:problem:slow-body"


def test_connection_is_closed_if_an_unread_body_does_not_arrive(service_with_short_timeouts):
    received = receive_until_closed(
        service_with_short_timeouts.port, b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
    )
    assert received.startswith(b"HTTP/1.1 405 ")
    assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("sent", "more"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", []),
        (b"GET /", [b"a" * 60_000] * 100),
        (HEAD + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n", []),
        (HEAD + b"X-Endless: ", [b"a" * 60_000] * 100),
        (HEAD + b"".join(b"X-%d: many\r\n" % number for number in range(3000)) + b"\r\n", []),
    ],
    ids=["long path", "endless path", "long header", "endless header", "many headers"],
)
def test_long_head_is_answered_431(served, sent, more):
    before = served.memory()
    assert receive_until_closed(served.port, sent, *more).startswith(b"HTTP/1.1 431 ")
    assert served.memory() - before < 8 * 1024**2
    assert httpx.get(f"{served.url}/livez").status_code == 200


def test_connection_with_endless_trailers_is_closed(served):
    before = served.memory()
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Endless: "
    receive_until_closed(served.port, chunked, *[b"a" * 60_000] * 200)
    assert served.memory() - before < 8 * 1024**2
    assert httpx.get(f"{served.url}/livez").status_code == 200


def test_head_that_arrives_byte_by_byte_is_read(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 400 + b"\r\n\r\n":
            client.sendall(bytes([byte]))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")  # the connection stays open
        with client.makefile("rb") as file:
            assert file.read().count(b"HTTP/1.1 200 OK") == 2


def test_connection_is_closed_if_its_response_is_not_read(service_with_short_timeouts, make_image_bytes):
    image_bytes = make_image_bytes(2900, 2900)  # noise: the response exceeds the socket buffers
    head = b"POST /detect?format=image HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image_bytes)
    with socket.socket() as client, httpx.Client(base_url=service_with_short_timeouts.url) as other:
        before = open_files(other)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", service_with_short_timeouts.port))
        client.sendall(head + image_bytes)
        start = client.recv(1000)
        while open_files(other) > before:
            pass  # the connection is still open
        count = len(start)
        with suppress(ConnectionResetError):
            while part := client.recv(65536):
                count += len(part)
    assert start.startswith(b"HTTP/1.1 200 ")
    assert count < int(start.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def open_files(client):
    """Return the number of open files of the service, including connections."""
    value = client.get("/metrics").text.partition("\nprocess_open_fds ")[2]
    return float(value.partition("\n")[0])


def test_200_slow_clients_do_not_delay_others(served, make_image_bytes):
    clients = []
    try:
        for _ in range(200):
            client = socket.create_connection(("127.0.0.1", served.port), timeout=30)
            clients.append(client)
            client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n\xff")
        for client in clients:
            client.sendall(b"\xd8")
        with httpx.Client(base_url=served.url, timeout=60) as other:
            responses = [other.post("/detect", content=make_image_bytes()).status_code for _ in range(20)]
    finally:
        for client in clients:
            client.close()
    assert responses == [200] * 20
