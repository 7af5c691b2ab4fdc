"""A mirror that answers with invalid or endless HTTP: every download ends with an error and leaves no complete file.

Its responses are those of shared/attacks/mirror.py that the web server of the other tests cannot send.
"""

import socket
import threading
import tracemalloc
from dataclasses import replace

import pytest

from cli.output.terminal import print_error
from weights.hub.catalogue import Entry

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def mirror():
    """Return a function (response) -> the address of a server that sends these bytes for every request, and its list of requests."""
    servers = []

    def start(response):
        server, requests = socket.create_server(("127.0.0.1", 0)), []
        servers.append(server)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # the test has ended
                    return
                with connection:
                    try:
                        requests.append(read_head(connection))
                        connection.sendall(response(requests[-1], address) if callable(response) else response)
                    except OSError:
                        continue  # the client closed the connection

        threading.Thread(target=serve, daemon=True).start()
        return address, requests

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def read_head(connection):
    head = b""
    while b"\r\n\r\n" not in head and (part := connection.recv(65536)):
        head += part
    return head


def redirect(target):
    return b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target


@pytest.mark.parametrize(
    ("response", "message"),
    [
        pytest.param(redirect(b"file:///etc/passwd"), "No connection adapters were found|file:", id="redirect to a local file"),
        pytest.param(lambda head, _: redirect(head.split(b" ")[1]), "(?i)redirects", id="endless redirects"),
        pytest.param(OK + b"Content-Length: 999999999999\r\n\r\n", "it offers 999,999,999,999 bytes", id="too large"),
        pytest.param(OK + b"Content-Length: -5\r\n\r\n" + b"x" * 100, "sent 100 bytes|negative|-5", id="negative length"),
        pytest.param(OK + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", "(?i)line|header", id="endless header"),
        pytest.param(OK + b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\nxx", "compressed the file", id="two encodings"),
        pytest.param(OK + b"Content-Length: 9\r\n\r\nINTERNAL!", "it offers 9 bytes", id="other content"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"80000\r\n%s\r\n" % bytes(0x80000) * 2, "sent more than", id="endless"),
    ],
)
def test_a_malicious_response_is_refused_and_leaves_no_complete_file(small_entry: Entry, home, mirror, response, message):
    address, requests = mirror(response)
    home.assert_refused(replace(small_entry, addresses=(f"{address}/small.weights",)), message)
    assert home.files() <= {"small.weights.partial", "small.weights.partial.json"}  # a later download may continue these
    assert 1 <= len(requests) <= 32


def test_the_body_of_a_redirect_is_not_read(small_entry: Entry, home, mirror):
    """`requests` itself would read the whole body into memory, even while it streams."""
    endless = redirect(b"/end").replace(b"Content-Length: 0", b"Content-Length: 999999999999") + bytes(2**26)
    address, requests = mirror(lambda head, _: endless if b"/small" in head else b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    tracemalloc.start()
    home.assert_refused(replace(small_entry, addresses=(f"{address}/small.weights",)), "it answered 404")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(requests) == 2
    assert peak < 2**24


def test_the_reason_of_a_mirror_cannot_control_the_terminal(small_entry: Entry, home, mirror, capsys):
    address, _ = mirror(b"HTTP/1.1 404 \x1b[31mred\x1b]0;title\x07\xc2\x9bx\r\nContent-Length: 0\r\n\r\n")
    error = home.assert_refused(replace(small_entry, addresses=(f"{address}/small.weights",)), "it answered 404")
    print_error(str(error))
    assert all(character.isprintable() or character == "\n" for character in capsys.readouterr().err)


def test_a_mirror_that_sends_one_byte_per_request_cannot_prolong_the_download(small_entry: Entry, home, mirror):
    """Every response promises the rest of the file, and ends after one byte."""

    def one_byte(head, _):
        offset = int(head.partition(b"bytes=")[2].partition(b"-")[0] or 0)
        status = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-299999/300000\r\n" % offset if offset else OK
        return status + b'ETag: "a"\r\nContent-Length: %d\r\n\r\ny' % (300_000 - offset)

    address, requests = mirror(one_byte)
    home.assert_refused(replace(small_entry, addresses=(f"{address}/small.weights",)), "small could not be fetched")
    assert len(requests) <= 100
