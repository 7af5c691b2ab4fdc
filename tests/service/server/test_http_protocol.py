"""Connection limits over real sockets: unread responses, upgrades, and the number of connections."""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from detector.errors import SettingError
from service.server import http_protocol
from service.server.connection_limit import RESERVED_FILES, effective_limit
from service.settings import read_settings

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answering(body, requests=None):
    """An ASGI application that reads the request and answers this body."""

    async def app(scope, receive, send):
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message.get("body", b""), message.get("more_body", False)
        if requests is not None:
            requests.append((scope["method"], scope["path"], content))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    return app


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def receive_all(client):
    """Everything that the server sends until it closes the connection."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def receive_answer(client):
    with client.makefile("rb", buffering=0) as file:  # a buffer would take bytes of the next answer
        head = b"".join(iter(file.readline, b"\r\n"))
        length, body = next(int(line.split()[1]) for line in head.splitlines() if line.startswith(b"content-length:")), b""
        while len(body) < length and (part := file.read(length - len(body))):
            body += part
        return head, body


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_connection_is_closed_if_its_small_response_is_never_read(serve_protocol):
    """The unsent part of the response is far smaller than the buffer size at which uvicorn reacts."""
    with serve_protocol(answering(bytes(40_000)), body_seconds=0.3) as (port, server), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        until(lambda: server.server_state.connections)
        (protocol,) = server.server_state.connections
        for number in range(1, 1000):
            client.sendall(GET)
            until(lambda number=number: server.server_state.total_requests == number)
            if protocol.transport.get_write_buffer_size():
                break
        assert 0 < protocol.transport.get_write_buffer_size() <= 40_000 + 200
        until(lambda: not server.server_state.connections)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs a socket option of Linux")
def test_kernel_drops_a_closed_connection_whose_data_is_not_read(serve_protocol):
    """After the process has closed the connection, the kernel still holds the unread response."""
    with serve_protocol(answering(b"ok"), body_seconds=0.3) as (port, server), connect(port) as client:
        client.sendall(GET)
        receive_answer(client)
        (protocol,) = server.server_state.connections
        connection = protocol.transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300


def test_slow_reader_stays_connected_if_every_response_is_fully_sent(serve_protocol):
    with serve_protocol(answering(b"small"), body_seconds=0.05) as (port, _), connect(port) as client:
        for _ in range(3):
            client.sendall(GET)
            time.sleep(0.1)
            assert receive_answer(client)[1] == b"small"


UPGRADES = [
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("framing", [b"Content-Length: 43\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n2b\r\n"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_upgrade_with_a_body_is_refused_and_the_body_is_not_parsed_as_a_request(serve_protocol, upgrade, framing, pieces):
    requests, smuggled = [], b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert len(smuggled) == 43
    head = b"POST /detect HTTP/1.1\r\nHost: localhost\r\n" + upgrade + framing
    with serve_protocol(answering(b"ok", requests)) as (port, _), connect(port) as client:
        client.sendall(head + smuggled if pieces == 1 else head)
        if pieces == 2:
            time.sleep(0.05)
            client.sendall(smuggled)
        received = receive_all(client)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in received
    assert requests == []


def test_upgrade_without_a_body_is_answered_and_ends_the_connection(serve_protocol):
    requests = []
    with serve_protocol(answering(b"ok", requests)) as (port, _), connect(port) as client:
        client.sendall(b"GET /first HTTP/1.1\r\nHost: localhost\r\n" + UPGRADES[0] + b"\r\n")
        time.sleep(0.05)
        client.sendall(b"GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = receive_all(client)
    assert received.count(b"HTTP/1.1 200 ") == 1
    assert requests == [("GET", "/first", b"")]


def test_request_with_two_host_headers_is_refused(serve_protocol):
    requests = []
    with serve_protocol(answering(b"ok", requests)) as (port, _), connect(port) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n")
        received = receive_all(client)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"more than one Host header" in received
    assert requests == []


def test_idle_connections_are_closed_for_new_ones(serve_protocol, caplog):
    with caplog.at_level(logging.WARNING), serve_protocol(answering(b"ok"), max_connections=5) as (port, server):
        clients = [connect(port) for _ in range(5)]
        until(lambda: len(server.server_state.connections) == 5)
        clients += [connect(port) for _ in range(3)]
        for closed in clients[:3]:
            assert receive_all(closed) == b""
        for client in clients[3:]:
            client.sendall(GET)
            assert receive_answer(client)[1] == b"ok"
        for client in clients:
            client.close()
    assert caplog.text.count("the limit of 5 open connections is reached") == 1


def test_connection_with_a_running_request_is_not_closed_for_a_new_one(serve_protocol):
    received, go_on = [], threading.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        message = await receive()
        received.append(message["body"])
        while not go_on.is_set():
            await asyncio.sleep(0.001)

        async def replay():
            return message

        await answering(b"ok")(scope, replay, send)

    with serve_protocol(app, max_connections=2) as (port, _):
        running = connect(port)
        running.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nhalf")
        until(lambda: received == [b"half"])
        others = [connect(port) for _ in range(3)]
        assert [receive_all(client) for client in others[:2]] == [b"", b""]
        go_on.set()
        assert receive_answer(running)[1] == b"ok"
        others[2].sendall(GET)
        assert receive_answer(others[2])[1] == b"ok"
        for client in (running, *others):
            client.close()


HALF_A_BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha"
GET_LARGE = GET.replace(b"/", b"/large", 1)


@pytest.mark.parametrize(
    "sent", [HALF_A_BODY, GET + HALF_A_BODY, GET_LARGE], ids=["half a body", "half a pipelined body", "unread response"]
)
def test_connections_that_wait_for_their_clients_are_closed_for_new_ones(serve_protocol, sent):
    """Otherwise clients without a key could occupy all connections."""

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        if scope["path"] == "/":
            await answering(b"ok")(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(50_000_000), "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})

    def waits(protocol):
        return protocol.cycle is not None and (protocol.flow.write_paused or (protocol.cycle.more_body and not protocol.pipeline))

    with serve_protocol(app, max_connections=3) as (port, server):
        waiting = [connect(port) for _ in range(3)]
        for client in waiting:
            client.sendall(sent)
        until(lambda: sum(map(waits, server.server_state.connections)) == 3)
        others = [connect(port) for _ in range(3)]
        for client in others:
            client.sendall(GET)
            assert receive_answer(client)[1] == b"ok"
        for client in waiting + others:
            client.close()


@pytest.mark.parametrize(
    ("configured", "max_files", "limit"),
    [
        (448, 1024, 448),
        (5000, 1024, (1024 - RESERVED_FILES) // 2),
        (5000, RESERVED_FILES, 1),
        (5000, 10, 1),
        (5000, -1, 5000),
        (5000, 0, 5000),
    ],
)
def test_limit_leaves_file_descriptors_for_the_rest_of_the_process(caplog, configured, max_files, limit):
    assert effective_limit(configured, max_files) == limit
    assert ("may open" in caplog.text) == (limit < configured)


def test_limit_of_open_files_is_raised_for_the_connections():
    code = """if True:
        import resource
        from service.server.connection_limit import effective_limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 1000))
        print(effective_limit(400), resource.getrlimit(resource.RLIMIT_NOFILE), effective_limit(900))
    """
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == f"400 ({800 + RESERVED_FILES}, 1000) {(1000 - RESERVED_FILES) // 2}\n"


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ([], ("http", "127.0.0.1")),
        (["10.0.0.0/8"], ("http", "127.0.0.1")),
        (["127.0.0.1"], ("https", "203.0.113.9")),
        (["*"], ("https", "203.0.113.9")),
    ],
)
def test_forwarded_headers_are_used_from_trusted_proxies_only(serve_protocol, trusted, expected):
    clients = []

    async def app(scope, receive, send):
        clients.append((scope["scheme"], scope["client"][0]))
        await answering(b"ok")(scope, receive, send)

    with serve_protocol(app, trusted_proxies=trusted) as (port, _), connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n")
        receive_answer(client)
    assert clients == [expected]


@pytest.mark.parametrize("proxy", ["proxy.example", "10.0.0.1/8", "300.0.0.1"])
def test_trusted_proxy_must_be_an_address_or_a_network(proxy):
    with pytest.raises(SettingError, match="trusted_proxies"):
        read_settings(trusted_proxies=proxy)


def test_protocol_overrides_public_methods_of_uvicorn_only():
    """uvicorn does not document its protocol class. This test fails if a new version lacks a method that we override."""
    ours = {name for name in vars(http_protocol._BoundedProtocol) if not name.startswith("__")}
    inherited = set(dir(HttpToolsProtocol))
    assert not {name for name in ours if name.startswith("_")} & inherited
    assert {name for name in ours if not name.startswith("_")} - {"settings", "connection_limit"} <= inherited
    assert ours >= {"connection_made", "connection_lost", "data_received", "on_headers_complete", "on_response_complete", "pause_writing"}


def test_protocol_reads_existing_attributes_of_uvicorn(serve_protocol):
    with serve_protocol(answering(b"ok")) as (port, server), connect(port) as client:
        client.sendall(GET)
        receive_answer(client)
        (protocol,) = server.server_state.connections
        assert protocol.cycle.response_complete is True
        assert protocol.cycle.keep_alive is True
        assert protocol.parser.should_upgrade() is False
        assert (b"host", b"localhost") in protocol.headers
        assert protocol.loop.is_running()


def test_pipelined_requests_above_the_limit_are_dropped_and_the_others_answered(serve_protocol):
    requests, go_on = [], threading.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "http"  # uvicorn also asks for lifespan events
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        await answering(b"ok", requests)(scope, receive, send)

    with serve_protocol(app) as (port, server), connect(port) as client:
        client.sendall(GET * 2000)
        until(lambda: server.server_state.connections)
        (protocol,) = server.server_state.connections
        until(lambda: len(protocol.pipeline) >= http_protocol.MAX_PIPELINED)
        waiting = len(protocol.pipeline)
        go_on.set()
        received = receive_all(client)
    assert waiting == http_protocol.MAX_PIPELINED
    assert received.count(b"HTTP/1.1 200 ") == len(requests) == 1 + http_protocol.MAX_PIPELINED


def test_response_to_a_closed_connection_ends_quietly_although_another_request_is_pipelined(serve_protocol, caplog):
    ended = []

    async def app(scope, _receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(20):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        ended.append(True)

    with serve_protocol(app, body_seconds=0.3) as (port, _), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(GET * 2)
        until(lambda: ended or "Exception in ASGI application" in caplog.text)
    assert ended == [True]


def test_trailers_do_not_become_headers(serve_protocol):
    """They arrive after the headers have been checked (RFC 9110, section 6.5.1)."""
    names = []

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await answering(b"ok")(scope, receive, send)
        names.extend(name for name, _ in scope["headers"])

    with serve_protocol(app) as (port, _), connect(port) as client:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"1\r\nx\r\n0\r\nX-Api-Key: key\r\nX-Last: last\r\n\r\n" + GET)
        assert [receive_answer(client)[1] for _ in range(2)] == [b"ok", b"ok"]
    assert names == [b"host", b"transfer-encoding", b"host"]


def test_empty_headers_count_with_their_separators(serve_protocol):
    with serve_protocol(answering(b"ok"), max_head_bytes=16_384) as (port, _), connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 5000 + b"\r\n")
        assert receive_all(client).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("count", [1, 40])
def test_connections_that_never_read_their_responses_are_all_closed(serve_protocol, count):
    """As shared/attacks/never_read_many.py: large responses fill the buffers of the kernel, and small ones wait in the process."""
    requests = []
    with serve_protocol(answering(bytes(1_000_000), requests), body_seconds=0.3) as (port, server):
        clients = [socket.socket() for _ in range(count)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(GET * 10)
        until(lambda: len(requests) >= count)
        until(lambda: not server.server_state.connections)
        for client in clients:
            client.close()
