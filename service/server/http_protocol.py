"""HTTP/1.1 with limits that uvicorn lacks.

It limits the size and duration of a request's head, the chunks of its body, and the time for sending a response. It also limits the number
of connections and of pipelined requests. A request to switch to another protocol is answered, and then its connection is closed.

The class extends uvicorn's httptools protocol and uses none of its private attributes. tests/service/server/test_http_protocol.py checks
that uvicorn still has the methods and attributes that the class overrides and reads.
"""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.server.connection_limit import ConnectionLimit, effective_limit
from service.settings import Settings

BAD_REQUEST = b"400 Bad Request"
TOO_LARGE = b"431 Request Header Fields Too Large"
TOO_SLOW = b"408 Request Timeout"

SEVERAL_HOSTS = b"The request has more than one Host header.\n"
UPGRADE_WITH_BODY = (
    b"This service does not support Connection: Upgrade with a body. "
    b"Remove the header (curl: --http1.1; Java: HttpClient.Version.HTTP_1_1).\n"
)

HEADER_OVERHEAD = 4  # Bytes of a header line in addition to its name and value.

MAX_PIPELINED = 16
"""Requests of one connection that wait for the response to an earlier one. Further ones are dropped, and the connection is closed after
the last response. A block of 256 KiB can contain 14,000 requests, which take memory and stop the event loop while they are parsed."""

MAX_BODY_CHUNKS = 100_000
"""Chunks of one body (Transfer-Encoding: chunked). Each takes time of the event loop, even if it has one byte."""

REFUSAL_LINGER_SECONDS = 1.0
"""How long a refused connection stays open. Its input is dropped, so that a TCP reset does not discard the response."""


def bounded_protocol(settings: Settings) -> type[asyncio.Protocol]:
    """Return the protocol class with the limits of these settings."""
    limit = ConnectionLimit(effective_limit(settings.max_connections))
    return type("BoundedProtocol", (_BoundedProtocol,), {"settings": settings, "connection_limit": limit})


class _BoundedProtocol(HttpToolsProtocol):
    settings: Settings
    connection_limit: ConnectionLimit

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refused = False  # further input is ignored
        self._running: RequestResponseCycle | None = None  # uvicorn's `cycle` is the last request, which may still be waiting
        self._upgrade = False  # whatever follows the head is not HTTP/1.1
        self._head_bytes = 0  # of the current request; trailers count too
        self._chunks = 0  # of the current body
        self._unparsed_bytes = 0  # received since the parser's last callback
        self._reading_head = False
        self._reading_body = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None  # limits the time for sending a response, from its first pause

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        super().connection_made(transport)
        _limit_unacknowledged_time(transport, self.settings.body_seconds)
        transport.set_write_buffer_limits(high=0)  # uvicorn's flow control pauses, and the write timer runs, until all data has been sent
        self._start_head_timer()
        self.connection_limit.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        self._stop_write_timer()
        self.connection_limit.closed(self.transport)
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._refused or self._upgrade:
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._idle and self._head_timer is None and not self._refused:
            self._start_head_timer()
        if self._unparsed_bytes > self.settings.max_head_bytes:  # an endless line, which the parser does not report
            self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        if self._refused:
            return
        super().on_message_begin()
        self._head_bytes = self._chunks = 0
        self._reading_head = True
        if self._head_timer is None:
            self._start_head_timer()

    def on_url(self, url: bytes) -> None:
        if not self._refused:
            super().on_url(url)
            self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._refused:
            if self._reading_head:  # else a trailer, which must not become a header (RFC 9110, section 6.5.1)
                super().on_header(name, value)
            self._count_head(len(name) + len(value) + HEADER_OVERHEAD)

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        self._unparsed_bytes = 0
        self._stop_head_timer()
        self._upgrade = self.parser.should_upgrade()
        if self._upgrade and self._has_body():  # the parser would take the body for the next request
            self._refuse(BAD_REQUEST, UPGRADE_WITH_BODY)
        if sum(name == b"host" for name, _ in self.headers) > 1:  # RFC 9112, section 3.2
            self._refuse(BAD_REQUEST, SEVERAL_HOSTS)
        self._reading_head = False
        if len(self.pipeline) == MAX_PIPELINED:
            self._refused, self.cycle.keep_alive = True, False
            self.flow.resume_reading()  # drops the input: unread bytes would reset the connection before the responses are read
        if not self._refused:
            starts_now = self._idle
            self._reading_body = True
            self.connection_limit.busy(self.transport)  # its idle time ends
            super().on_headers_complete()
            self._update_limit()
            if starts_now:
                self._running = self.cycle
            if self._upgrade:
                self.cycle.keep_alive = False

    def _has_body(self) -> bool:
        headers = dict(self.headers)
        return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip() != b"0"

    def on_chunk_header(self) -> None:
        """Count a chunk. The parser calls this method of every protocol that has it; uvicorn's has none."""
        self._chunks += 1
        if self._chunks > MAX_BODY_CHUNKS:
            self._refuse(BAD_REQUEST)

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._stop_head_timer()
        self._reading_body = False
        if not self._refused:
            super().on_message_complete()
            self._update_limit()

    def on_response_complete(self) -> None:
        if not self.flow.write_paused:
            self._stop_write_timer()
        self._running = self.pipeline[-1][0] if self.pipeline else None  # uvicorn starts it now
        super().on_response_complete()
        self._update_limit()
        if self._reading_body and self._idle:  # limits the wait for the rest of an unread body
            self._start_head_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.settings.body_seconds, self._reset)
        self._update_limit()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._running is None or not self._running.response_started:  # else the timer runs until the end of the response
            self._stop_write_timer()
        self._update_limit()

    def _reset(self) -> None:
        """Close the connection with a reset, so that the kernel does not keep data that is never read."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    @property
    def _idle(self) -> bool:
        """True if no request is being processed."""
        return self.cycle is None or self.cycle.response_complete

    def _update_limit(self) -> None:
        """Report to the connection limit whether this connection waits for its client."""
        waits = self._idle or self._reading_body or self.flow.write_paused
        (self.connection_limit.idle if waits else self.connection_limit.busy)(self.transport)

    def _count_head(self, count: int) -> None:
        self._unparsed_bytes = 0
        self._head_bytes += count
        if self._head_bytes > self.settings.max_head_bytes:
            self._refuse(TOO_LARGE)

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(self.settings.head_seconds, self._refuse, TOO_SLOW)

    def _stop_head_timer(self) -> None:
        _cancel(self._head_timer)
        self._head_timer = None

    def _stop_write_timer(self) -> None:
        _cancel(self._write_timer)
        self._write_timer = None

    def _refuse(self, status: bytes, message: bytes = b"") -> None:
        """Close the connection. Send the status if a head is refused and no response is being sent."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if not (self._idle and self._reading_head):
            self.transport.close()
            return
        length = b"%d" % len(message)
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: " + length + b"\r\n\r\n" + message)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(REFUSAL_LINGER_SECONDS, self.transport.close)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _limit_unacknowledged_time(transport: asyncio.Transport, seconds: float) -> None:
    """Have the kernel drop the connection if sent data is not acknowledged in time, even after the process has closed it (Linux)."""
    connection, option = transport.get_extra_info("socket"), getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, option, int(1000 * seconds))
