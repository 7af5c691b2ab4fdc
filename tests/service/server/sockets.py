"""Requests and responses over sockets, and an application to serve."""

import socket
import time

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def respond_with(body, requests=None):
    """Return an ASGI application that reads each request, adds it to `requests` and responds with this body."""

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
    """Return everything that the server sends until it closes the connection."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def receive_response(client):
    """Return head and body of one response."""
    with client.makefile("rb", buffering=0) as file:  # a buffer would take bytes of the next response
        head = b"".join(iter(file.readline, b"\r\n"))
        length, body = next(int(line.split()[1]) for line in head.splitlines() if line.startswith(b"content-length:")), b""
        while len(body) < length and (part := file.read(length - len(body))):
            body += part
        return head, body


def wait_until(condition):
    """Wait until `condition()` is true."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
