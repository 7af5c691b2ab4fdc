"""HTTP parsing over real sockets: upgrades, hosts, proxies, pipelining, trailers, and the interface of uvicorn."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from detector.errors import SettingError
from service.server import http_protocol
from service.settings import read_settings
from tests.service.server.sockets import GET, connect, receive_all, receive_response, respond_with, wait_until

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
    with serve_protocol(respond_with(b"ok", requests)) as (port, _), connect(port) as client:
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
    with serve_protocol(respond_with(b"ok", requests)) as (port, _), connect(port) as client:
        client.sendall(b"GET /first HTTP/1.1\r\nHost: localhost\r\n" + UPGRADES[0] + b"\r\n")
        time.sleep(0.05)
        client.sendall(b"GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = receive_all(client)
    assert received.count(b"HTTP/1.1 200 ") == 1
    assert requests == [("GET", "/first", b"")]


def test_request_with_two_host_headers_is_refused(serve_protocol):
    requests = []
    with serve_protocol(respond_with(b"ok", requests)) as (port, _), connect(port) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n")
        received = receive_all(client)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"more than one Host header" in received
    assert requests == []


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
        await respond_with(b"ok")(scope, receive, send)

    with serve_protocol(app, trusted_proxies=trusted) as (port, _), connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n")
        receive_response(client)
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
    assert {name for name in ours if not name.startswith("_")} - {"settings", "connection_limit", "on_chunk_header"} <= inherited
    assert ours >= {"connection_made", "connection_lost", "data_received", "on_headers_complete", "on_response_complete", "pause_writing"}


def test_protocol_reads_existing_attributes_of_uvicorn(serve_protocol):
    with serve_protocol(respond_with(b"ok")) as (port, server), connect(port) as client:
        client.sendall(GET)
        receive_response(client)
        (protocol,) = server.server_state.connections
        assert protocol.cycle.response_complete is True
        assert protocol.cycle.keep_alive is True
        assert protocol.parser.should_upgrade() is False
        assert (b"host", b"localhost") in protocol.headers
        assert protocol.loop.is_running()


def test_pipelined_requests_above_the_limit_are_dropped_and_the_others_answered(serve_protocol):
    requests, resume = [], threading.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "http"  # uvicorn also sends lifespan events
        while not resume.is_set():
            await asyncio.sleep(0.001)
        await respond_with(b"ok", requests)(scope, receive, send)

    with serve_protocol(app) as (port, server), connect(port) as client:
        client.sendall(GET * 2000)
        wait_until(lambda: server.server_state.connections)
        (protocol,) = server.server_state.connections
        wait_until(lambda: len(protocol.pipeline) >= http_protocol.MAX_PIPELINED)
        waiting = len(protocol.pipeline)
        resume.set()
        received = receive_all(client)
    assert waiting == http_protocol.MAX_PIPELINED
    assert received.count(b"HTTP/1.1 200 ") == len(requests) == 1 + http_protocol.MAX_PIPELINED


@pytest.mark.parametrize(("chunks", "answered"), [(http_protocol.MAX_BODY_CHUNKS - 1, True), (http_protocol.MAX_BODY_CHUNKS + 1, False)])
def test_connection_is_closed_if_a_body_has_too_many_chunks(serve_protocol, chunks, answered):
    """Eight megabytes of chunks of one byte would stop the event loop for half a second, again and again."""
    with serve_protocol(respond_with(b"ok")) as (port, _), connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):
            client.sendall(b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
        assert receive_all(client).startswith(b"HTTP/1.1 200 ") == answered


def test_trailers_do_not_become_headers(serve_protocol):
    """They arrive after the headers have been checked (RFC 9110, section 6.5.1)."""
    names = []

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await respond_with(b"ok")(scope, receive, send)
        names.extend(name for name, _ in scope["headers"])

    with serve_protocol(app) as (port, _), connect(port) as client:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"1\r\nx\r\n0\r\nX-Api-Key: key\r\nX-Last: last\r\n\r\n" + GET)
        assert [receive_response(client)[1] for _ in range(2)] == [b"ok", b"ok"]
    assert names == [b"host", b"transfer-encoding", b"host"]


def test_empty_headers_count_with_their_separators(serve_protocol):
    with serve_protocol(respond_with(b"ok"), max_head_bytes=16_384) as (port, _), connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 5000 + b"\r\n")
        assert receive_all(client).startswith(b"HTTP/1.1 431 ")
