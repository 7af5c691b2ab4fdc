"""Clients that take their time, or never end: cut off by a real process, over real sockets, while others are served."""

import json
import socket

import httpx
import pytest

HEAD = b"POST /detect HTTP/1.1\r\nHost: localhost\r\n"
SHORT = {"BOXWRIGHT_HEAD_SECONDS": "0.4", "BOXWRIGHT_BODY_SECONDS": "0.6"}


@pytest.fixture(scope="module")
def hasty(start_service, model_file):
    """A service that waits for nobody."""
    service = start_service(model_file, **SHORT)
    yield service
    service.stop()


def said_before_closing(port, sent, *more):
    """What the service says to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        said = b""
        try:
            client.sendall(sent)
            for piece in more:
                client.sendall(piece)
            while part := client.recv(65536):
                said += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # it closed while more was on its way
        return said


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_who_asks_nothing_is_left(hasty, sent):
    assert said_before_closing(hasty.port, sent) == b""


@pytest.mark.parametrize("sent", [b"POST /det", HEAD, HEAD + b"X-Endless: on and on"], ids=["path", "headers", "a header"])
def test_half_a_head_is_answered_408(hasty, sent):
    assert said_before_closing(hasty.port, sent).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n5\r\nahalf\r\n"])
def test_half_a_body_is_answered_408(hasty, framing):
    said = said_before_closing(hasty.port, HEAD + framing)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["type"] == "urn:boxwright:problem:slow-body"


def test_the_rest_of_a_body_that_nobody_reads_is_not_waited_for(hasty):
    said = said_before_closing(hasty.port, b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")
    assert said.startswith(b"HTTP/1.1 405 ")
    assert said.count(b"HTTP/1.1") == 1


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
def test_a_head_too_long_is_answered_431(served, sent, more):
    before = served.memory()
    assert said_before_closing(served.port, sent, *more).startswith(b"HTTP/1.1 431 ")
    assert served.memory() - before < 8 * 1024**2
    assert httpx.get(f"{served.url}/livez").status_code == 200


def test_endless_trailers_end_the_connection(served):
    before = served.memory()
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Endless: "
    said_before_closing(served.port, chunked, *[b"a" * 60_000] * 200)
    assert served.memory() - before < 8 * 1024**2
    assert httpx.get(f"{served.url}/livez").status_code == 200


def test_a_head_of_ordinary_length_in_many_pieces_is_read(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 400 + b"\r\n\r\n":
            client.sendall(bytes([byte]))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")  # and the connection goes on
        with client.makefile("rb") as file:
            assert file.read().count(b"HTTP/1.1 200 OK") == 2


def test_an_answer_that_nobody_takes_is_dropped(hasty, photo):
    picture = photo(2900, 2900)  # noise: its answer is more than sockets hold
    head = b"POST /detect?format=image HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(picture)
    with socket.socket() as client, httpx.Client(base_url=hasty.url) as other:
        before = open_files(other)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", hasty.port))
        client.sendall(head + picture)
        start = client.recv(1000)
        while open_files(other) > before:
            pass  # the connection is there still
        said = len(start)
        while part := client.recv(65536):
            said += len(part)
    assert start.startswith(b"HTTP/1.1 200 ")
    assert said < int(start.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def open_files(client):
    """Of the service, its connections among them."""
    told = client.get("/metrics").text.partition("\nprocess_open_fds ")[2]
    return float(told.partition("\n")[0])


def test_200_clients_that_dribble_take_no_place_from_others(served, photo):
    clients = []
    try:
        for _ in range(200):
            client = socket.create_connection(("127.0.0.1", served.port), timeout=30)
            clients.append(client)
            client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n\xff")
        for client in clients:
            client.sendall(b"\xd8")
        with httpx.Client(base_url=served.url) as other:
            answers = [other.post("/detect", content=photo()).status_code for _ in range(20)]
    finally:
        for client in clients:
            client.close()
    assert answers == [200] * 20
