"""Per-request state: ids for the log, the deadline, and what happened to the body and the response.

`AccessLogMiddleware` creates one `RequestContext` for each request. Code that runs for the request gets it with `current_context`.
"""

import math
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.datastructures import Headers

from service.errors import BadHeader

TIMEOUT_HEADER = "X-Request-Timeout"
REQUEST_ID_HEADER = "X-Request-ID"
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
"""Open Inference Protocol: number of bytes of JSON at the start of the body. Binary tensors follow."""

_VALID_ID = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")  # W3C Trace Context, section 3.2


@dataclass(eq=False)
class RequestContext:
    """State of one request. Times are those of the event loop, in seconds."""

    arrived: float
    request_id: str = field(default_factory=lambda: uuid4().hex)
    trace_id: str | None = None  # from the W3C traceparent header
    parent_id: str | None = None
    client_timeout: float | None = None  # seconds after `arrived`, from the X-Request-Timeout header
    body_bytes: int = 0  # received so far
    body_received: float | None = None  # time of the last byte of the body
    key_name: str | None = None  # name of the API key
    response_sent: bool = False
    disconnected: bool = False  # the client closed the connection before the response was sent
    reserve_response: Callable[[int], None] = field(default=lambda _count: None)
    """Reserves memory for this number of bytes of the response. Raises ResponseTooLarge or Overloaded."""

    @classmethod
    def from_headers(cls, headers: Headers, arrived: float) -> "RequestContext":
        """Take the request id and the trace ids of the client if they are valid. Otherwise create a new request id."""
        context = cls(arrived)
        if _VALID_ID.fullmatch(headers.get(REQUEST_ID_HEADER, "")):
            context.request_id = headers[REQUEST_ID_HEADER]
        trace = _TRACEPARENT.fullmatch(headers.get("traceparent", "")[:200])
        if trace and int(trace[1], 16) and int(trace[2], 16):
            context.trace_id, context.parent_id = trace[1], trace[2]
        return context

    def deadline(self, seconds: float) -> float:
        """Return the time by which the response is due.

        Args:
            seconds: Time limit of the service, counted from the end of the body.

        Returns:
            The earlier of that limit and the client's own timeout, as a time of the event loop.
        """
        limit = (self.arrived if self.body_received is None else self.body_received) + seconds
        return limit if self.client_timeout is None else min(limit, self.arrived + self.client_timeout)


def parse_timeout(headers: Headers) -> float | None:
    """Return the seconds in the X-Request-Timeout header. Raises BadHeader unless it is a positive number."""
    value = headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BadHeader(f"{TIMEOUT_HEADER} must be a number of seconds above 0, such as 2.5, got {value[:40]!r}.")
    return seconds


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def current_context() -> RequestContext | None:
    """Return the context of the request that this code runs for, or None outside of a request."""
    return _current.get()


def set_current_context(context: RequestContext) -> None:
    """Make `current_context` return `context` in this task and in the tasks that it starts."""
    _current.set(context)
