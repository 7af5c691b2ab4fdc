"""Request ids, request metrics and the access log. A log line has no image, no query and no API key."""

import asyncio
import logging
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.metrics import ServiceMetrics
from service.request.context import REQUEST_ID_HEADER, RequestContext, set_current_context
from service.server.lifecycle import Lifecycle

logger = logging.getLogger("boxwright.access")

REPEATED_SLASHES = re.compile("/{2,}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_CLOSED_REQUEST = 499  # Logged status if the client disconnects before the response, as in nginx.
INTERNAL_ERROR = 500


class AccessLogMiddleware:
    """Creates the request context, counts the request and writes one line to the access log."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, lifecycle: Lifecycle) -> None:
        self.app = app
        self.metrics = metrics
        self.lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        context = RequestContext.from_headers(Headers(scope=scope), clock())
        set_current_context(context)
        status, sent_bytes, seconds = 0, 0, 0.0

        async def send_and_count(message: Message) -> None:
            nonlocal status, sent_bytes, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], clock() - context.arrived
                self._add_headers(MutableHeaders(scope=message), context)
            sent_bytes += len(message.get("body", b""))
            await send(message)

        self.metrics.requests_in_flight.inc()
        routed = dict(scope) | {"path": _without_extra_slashes(scope["path"])}
        if scope["method"] == "HEAD":
            routed["method"] = "GET"  # the server drops the body of a response to HEAD
        try:
            await self.app(routed, receive, send_and_count)
        finally:
            self.metrics.requests_in_flight.dec()
            status = CLIENT_CLOSED_REQUEST if context.disconnected else status or INTERNAL_ERROR
            self._count(routed, context, status, seconds or clock() - context.arrived)
            _log(scope, context, status, sent_bytes, clock() - context.arrived)

    def _add_headers(self, headers: MutableHeaders, context: RequestContext) -> None:
        headers[REQUEST_ID_HEADER] = context.request_id
        if self.lifecycle.shutting_down:
            headers["connection"] = "close"  # so that the client sends its next request to another instance

    def _count(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "other")  # the path template, so that the number of label values is bounded
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(path, method, status).inc()
        self.metrics.request_seconds.labels(path).observe(seconds)
        if context.disconnected:
            self.metrics.disconnected.inc()


def _without_extra_slashes(path: str) -> str:
    """Remove repeated and trailing slashes: some clients join addresses as host/ + /path, others end paths with a slash."""
    return REPEATED_SLASHES.sub("/", path).rstrip("/") or "/"


def _log(scope: Scope, context: RequestContext, status: int, sent_bytes: int, seconds: float) -> None:
    facts = {
        "method": scope["method"][:20],
        "path": scope.get("raw_path", b"").decode("latin-1")[:200],
        "status": status,
        "ms": round(1000 * seconds, 1),
        "bytes_in": context.body_bytes,
        "bytes_out": sent_bytes,
        "client": scope["client"][0][:64] if scope.get("client") else None,
    }
    if context.key_name:
        facts["key"] = context.key_name
    logger.info("%(method)s %(path)s %(status)d %(ms).1f ms", facts, extra={"facts": facts})
