"""Connection limits over real sockets: unread responses and the number of connections."""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time

import pytest

from service.server.connection_limit import RESERVED_FILES, effective_limit
from tests.service.server.sockets import GET, connect, receive_all, receive_response, respond_with, wait_until


def test_connection_is_closed_if_its_small_response_is_never_read(serve_protocol):
    """The unsent part of the response is far smaller than the buffer size at which uvicorn reacts."""
    with serve_protocol(respond_with(bytes(40_000)), body_seconds=0.3) as (port, server), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        wait_until(lambda: server.server_state.connections)
        (protocol,) = server.server_state.connections
        for number in range(1, 1000):
            client.sendall(GET)
            wait_until(lambda number=number: server.server_state.total_requests == number)
            if protocol.transport.get_write_buffer_size():
                break
        assert 0 < protocol.transport.get_write_buffer_size() <= 40_000 + 200
        wait_until(lambda: not server.server_state.connections)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs a socket option of Linux")
def test_kernel_has_a_time_limit_for_data_that_the_client_does_not_acknowledge(serve_protocol):
    """After the process has closed the connection, the kernel still holds the unread response."""
    with serve_protocol(respond_with(b"ok"), body_seconds=0.3) as (port, server), connect(port) as client:
        client.sendall(GET)
        receive_response(client)
        (protocol,) = server.server_state.connections
        connection = protocol.transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300


def test_slow_reader_stays_connected_if_every_response_is_fully_sent(serve_protocol):
    with serve_protocol(respond_with(b"small"), body_seconds=0.05) as (port, _), connect(port) as client:
        for _ in range(3):
            client.sendall(GET)
            time.sleep(0.1)
            assert receive_response(client)[1] == b"small"


def read_slowly(client, total):
    received = 0
    while received < total:
        received += len(client.recv(65536))
        time.sleep(0.001)


def test_connection_is_closed_if_a_response_takes_too_long_although_the_client_reads_all_the_time(serve_protocol):
    """Each piece is read in time. The response keeps its memory until the last one is sent."""
    total = 400 * 256 * 1024

    async def app(scope, _receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % total)]})
        for _ in range(400):
            await send({"type": "http.response.body", "body": bytes(256 * 1024), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with serve_protocol(app, body_seconds=0.3) as (port, _), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", port))
        client.sendall(GET)
        with pytest.raises(ConnectionResetError):
            read_slowly(client, total)


def test_responses_of_one_connection_have_their_own_time_limits(serve_protocol):
    body = bytes(8_000_000)
    with serve_protocol(respond_with(body), body_seconds=2.0) as (port, _), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", port))
        for _ in range(4):
            client.sendall(GET)
            time.sleep(0.7)
            assert receive_response(client)[1] == body


def test_idle_connections_are_closed_for_new_ones(serve_protocol, caplog):
    with caplog.at_level(logging.WARNING), serve_protocol(respond_with(b"ok"), max_connections=5) as (port, server):
        clients = [connect(port) for _ in range(5)]
        wait_until(lambda: len(server.server_state.connections) == 5)
        clients += [connect(port) for _ in range(3)]
        for closed in clients[:3]:
            assert receive_all(closed) == b""
        for client in clients[3:]:
            client.sendall(GET)
            assert receive_response(client)[1] == b"ok"
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

        await respond_with(b"ok")(scope, replay, send)

    with serve_protocol(app, max_connections=2) as (port, _):
        running = connect(port)
        running.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nhalf")
        wait_until(lambda: received == [b"half"])
        others = [connect(port) for _ in range(3)]
        assert [receive_all(client) for client in others[:2]] == [b"", b""]
        go_on.set()
        assert receive_response(running)[1] == b"ok"
        others[2].sendall(GET)
        assert receive_response(others[2])[1] == b"ok"
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
            await respond_with(b"ok")(scope, receive, send)
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
        wait_until(lambda: sum(map(waits, server.server_state.connections)) == 3)
        others = [connect(port) for _ in range(3)]
        for client in others:
            client.sendall(GET)
            assert receive_response(client)[1] == b"ok"
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


@pytest.mark.parametrize("count", [1, 40])
def test_connections_that_never_read_their_responses_are_all_closed(serve_protocol, count):
    """The responses fill the buffers of the kernel, and the rest waits in the process."""
    requests = []
    with serve_protocol(respond_with(bytes(1_000_000), requests), body_seconds=0.3) as (port, server):
        clients = [socket.socket() for _ in range(count)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(GET * 10)
        wait_until(lambda: len(requests) >= count)
        wait_until(lambda: not server.server_state.connections)
        for client in clients:
            client.close()


def test_response_to_a_closed_connection_logs_no_error_although_another_request_is_pipelined(serve_protocol, caplog):
    finished = []

    async def app(scope, _receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(20):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        finished.append(True)

    with serve_protocol(app, body_seconds=0.3) as (port, _), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(GET * 2)
        wait_until(lambda: finished or "Exception in ASGI application" in caplog.text)
    assert finished == [True]
