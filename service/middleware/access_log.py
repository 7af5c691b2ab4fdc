"""Every request gets a name, is counted, and leaves one line in the log: no photo, no query, no key."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.metrics import ServiceMetrics
from service.request.context import REQUEST_ID_HEADER, Call, enter_call
from service.server.lifecycle import Lifecycle

access = logging.getLogger("boxwright.access")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
HUNG_UP = 499
"""The status that is counted where the client did not wait for one, as nginx does."""

FAILED = 500


class Observe:
    """ASGI middleware. `templates` tells the paths that there are ("/models/{name}"); it is asked once, with the first request."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, lifecycle: Lifecycle, templates: Callable[[], Iterable[str]]) -> None:
        self.app = app
        self.metrics = metrics
        self.lifecycle = lifecycle
        self._templates = templates
        self._routes: list[tuple[re.Pattern[str], str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        call = Call.of(Headers(scope=scope), clock())
        enter_call(call)
        status, sent, seconds = 0, 0, 0.0

        async def watched(message: Message) -> None:
            nonlocal status, sent, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], clock() - call.arrived
                self._add_headers(MutableHeaders(scope=message), call)
            sent += len(message.get("body", b""))
            await send(message)

        self.metrics.requests_in_flight.inc()
        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.requests_in_flight.dec()
            status = HUNG_UP if call.gone else status or FAILED
            self._count(scope, call, status, seconds or clock() - call.arrived)
            self._log(scope, call, status, sent)

    def _add_headers(self, headers: MutableHeaders, call: Call) -> None:
        headers[REQUEST_ID_HEADER] = call.request_id
        if self.lifecycle.shutting_down:
            headers["connection"] = "close"  # the next request is for another instance

    def _count(self, scope: Scope, call: Call, status: int, seconds: float) -> None:
        route = self._route(scope["path"])
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(route, method, status).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        if call.gone:
            self.metrics.disconnected.inc()

    def _route(self, path: str) -> str:
        """The template that the path fits, so that there are only so many; "other" for the rest."""
        self._routes = self._routes or [(compile_path(template)[0], template) for template in self._templates()]
        return next((template for pattern, template in self._routes if pattern.match(path)), "other")

    def _log(self, scope: Scope, call: Call, status: int, sent: int) -> None:
        took = asyncio.get_running_loop().time() - call.arrived
        facts = {
            "method": scope["method"][:20],
            "path": scope.get("raw_path", b"").decode("latin-1")[:200],
            "status": status,
            "ms": round(1000 * took, 1),
            "bytes_in": call.body_bytes,
            "bytes_out": sent,
            "client": scope["client"][0] if scope.get("client") else None,
        }
        if call.key:
            facts["key"] = call.key  # its name
        access.info("%(method)s %(path)s %(status)d %(ms).1f ms", facts, extra={"facts": facts})
