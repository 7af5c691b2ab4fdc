"""Limits of request bodies: size and arrival time of each body, and memory of all bodies together.

A body that exceeds a limit is refused while it arrives, and its connection is closed. Starlette's own middleware limits only the size
and answers in plain text.
"""

import asyncio
import logging
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.messages import count_of
from service.errors import BodyTimeout, BodyTooLarge, Overloaded, ResponseTooLarge
from service.inference.admission_queue import AdmissionQueue
from service.middleware.errors import error_response
from service.observability.metrics import ServiceMetrics
from service.request.context import RequestContext, current_context
from service.settings import Settings

logger = logging.getLogger("boxwright.service")

SEND_CHUNK_BYTES = 256 * 1024  # A larger part of a response is sent in pieces, so that the server waits until the client reads.
RESPONSE_COPIES = 4  # An annotated image is in memory as a file, as base64, as JSON and in the buffers of the server.
DRAIN_BYTES, DRAIN_SECONDS = 8 * 1024**2, 1.0  # Limits of reading the rest of a refused body; see `_Exchange.send`.


@dataclass(eq=False)
class AdmissionLimits:
    """Queue and memory limits shared by all requests.

    Bodies of requests without a known API key have their own small budget, so that they cannot exhaust the budget of the others.
    """

    settings: Settings
    queue: AdmissionQueue
    metrics: ServiceMetrics
    body_bytes: int = 0  # of bodies and annotated images in memory, without `unauthenticated_bytes`
    unauthenticated_bytes: int = 0  # of the bodies of requests that have no known API key yet

    def check_queue(self) -> None:
        """Raise Overloaded if the queue is full."""
        try:
            self.queue.check_capacity()
        except Overloaded:
            self.metrics.rejected.labels("queue").inc()
            raise

    def check_length(self, count: int, verb: str) -> None:
        """Raise BodyTooLarge if `count` is above the limit. `verb` is for the message: "declares" or "has at least"."""
        limit = self.settings.max_body_bytes
        if count > limit:
            raise BodyTooLarge(f"The body {verb} {count:,} bytes. The limit is {limit:,}. Send a smaller image.")

    def is_authenticated(self, context: RequestContext) -> bool:
        """Whether the request has a known API key, or needs none."""
        return context.key_name is not None or not self.settings.key_hashes

    def add_bytes(self, count: int) -> None:
        """Count bytes that are now in memory. Raises Overloaded above the limit.

        The caller must subtract the bytes later, even after the error.
        """
        self.body_bytes += count
        self._check_budget(self.body_bytes, self.settings.max_waiting_bytes)

    def add_unauthenticated_bytes(self, count: int) -> None:
        """Like `add_bytes`, for a request that has no known API key yet."""
        self.unauthenticated_bytes += count
        self._check_budget(self.unauthenticated_bytes, self.settings.max_unauthenticated_bytes)

    def _check_budget(self, used: int, limit: int) -> None:
        if used > limit:
            self.metrics.rejected.labels("memory").inc()
            seconds = self.queue.retry_after()
            raise Overloaded(f"The memory for requests is full. Try again in {seconds} s (Retry-After).", seconds)


class RequestLimitsMiddleware:
    """Enforces the limits of a body, cancels requests when the client disconnects, and answers unexpected errors."""

    def __init__(self, app: ASGIApp, limits: AdmissionLimits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        context = current_context()
        if scope["type"] != "http" or context is None:
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, context, self.limits, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            logger.info("%s %s: the client disconnected", scope["method"], scope["path"])
        except Exception as error:
            if exchange.response_started:
                raise
            await error_response(Request(scope), error)(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if context.disconnected:
                exchange.task.uncancel()
                logger.info("%s %s: the client disconnected", scope["method"], scope["path"])
            elif (lifecycle := scope["app"].state.lifecycle).shutting_down:  # the server cancels requests at the end of the grace time
                exchange.task.uncancel()
                if not exchange.response_started:
                    await error_response(Request(scope), lifecycle.error())(scope, receive, send)
            else:
                raise
        finally:
            exchange.close()


class _Exchange:
    """One request and its response: `receive` enforces the limits, `send` closes the connection if a body was not read."""

    def __init__(self, scope: Scope, context: RequestContext, limits: AdmissionLimits, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.response_started = False
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        self._declared_bytes = int(declared) if declared.isdecimal() else 0
        self._body_complete = not self._declared_bytes and "transfer-encoding" not in headers
        self._drain_body = False
        self._context, self._limits, self._receive, self._send = context, limits, receive, send
        self._watcher: asyncio.Task[None] | None = None
        self._unauthenticated_bytes = self._response_bytes = 0
        context.reserve_response = self._reserve_response

    async def receive(self) -> Message:
        """Return the next part of the body. Raises BodyTooLarge, BodyTimeout, Overloaded."""
        if self._watcher is not None:
            await asyncio.wait([self._watcher])
            return {"type": "http.disconnect"}
        self._limits.check_length(self._declared_bytes, "declares")
        message = await self._receive_in_time()
        if message["type"] == "http.disconnect":
            self._context.disconnected = not self._context.response_sent
            return message
        self._body_complete = not message.get("more_body", False)
        count = len(message.get("body", b""))
        self._reserve_body(count)
        self._limits.check_length(self._context.body_bytes, "has at least")
        if self._body_complete:
            self._context.body_received = asyncio.get_running_loop().time()
            self._watcher = asyncio.create_task(self._watch_for_disconnect())
        return message

    def _reserve_body(self, count: int) -> None:
        """Count bytes of the body, which `close` releases. Raises Overloaded."""
        self._context.body_bytes += count
        if self._limits.is_authenticated(self._context):
            self._limits.add_bytes(count)
        else:
            self._unauthenticated_bytes += count
            self._limits.add_unauthenticated_bytes(count)

    def _reserve_response(self, count: int) -> None:
        """Count bytes of annotated images, which `close` releases. Raises ResponseTooLarge, Overloaded."""
        limit = self._limits.settings.max_response_bytes
        if self._response_bytes + count > limit:
            raise ResponseTooLarge(
                f"The annotated images have more than {limit:,} bytes. Send smaller or fewer images, or accept image/jpeg."
            )
        self._response_bytes += count
        self._limits.add_bytes(RESPONSE_COPIES * count)

    async def _receive_in_time(self) -> Message:
        settings = self._limits.settings
        authenticated = self._limits.is_authenticated(self._context)
        seconds = settings.body_seconds if authenticated else min(settings.body_seconds, settings.unauthenticated_seconds)
        try:
            async with asyncio.timeout_at(self._context.arrived + seconds):
                return await self._receive()
        except TimeoutError as error:
            self._limits.metrics.slow_bodies.inc()
            count = self._context.body_bytes
            raise BodyTimeout(
                f"Only {count_of(count, 'byte')} of the body arrived within {seconds:g} s. Send a smaller image or use a faster connection."
            ) from error

    async def _watch_for_disconnect(self) -> None:
        await self._receive()  # after the body, only a disconnect can follow
        if not self._context.response_sent:
            self._context.disconnected = True
            self.task.cancel()

    async def send(self, message: Message) -> None:
        """Send a part of the response. An error response that precedes the end of the body closes the connection.

        Bytes that arrive at a closed connection reset it, and the client may lose the response (RFC 9112, section 9.6). Therefore
        `send` first reads a little more of the body, until the client has received the response and stops sending.
        """
        if message["type"] == "http.response.start":
            self.response_started = True
            self._drain_body = message["status"] >= 400 and not self._body_complete
            if self._drain_body:
                MutableHeaders(scope=message)["connection"] = "close"
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        while len(body) > SEND_CHUNK_BYTES:
            await self._send({**message, "body": bytes(body[:SEND_CHUNK_BYTES]), "more_body": True})
            body = memoryview(body)[SEND_CHUNK_BYTES:]
        if self._drain_body and not more:
            await self._send({**message, "body": bytes(body), "more_body": True})
            await self._drain()
            body = b""
        self._context.response_sent = not more
        await self._send({**message, "body": bytes(body)})

    async def _drain(self) -> None:
        """Read and drop the rest of the body, within limits."""
        dropped = 0
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while dropped < DRAIN_BYTES:
                    message = await self._receive()
                    if not message.get("more_body", False):  # the end of the body, or a disconnect
                        return
                    dropped += len(message["body"])
        except TimeoutError:
            return

    def close(self) -> None:
        """Stop waiting for a disconnect, and release the memory of the body and of the annotated images."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._limits.unauthenticated_bytes -= self._unauthenticated_bytes
        self._limits.body_bytes -= self._context.body_bytes - self._unauthenticated_bytes + RESPONSE_COPIES * self._response_bytes
