"""One request as the service sees it: who it is in the logs, and how long it may take.

Middleware makes a `Call` where a request comes in; everything done for it finds it with `current_call`.
"""

import math
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.datastructures import Headers

from service.errors import BadHeader

TIMEOUT_HEADER = "X-Request-Timeout"
REQUEST_ID_HEADER = "X-Request-ID"

_SANE_ID = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")  # W3C Trace Context, section 3.2


@dataclass(eq=False)
class Call:
    """One request. Times are the event loop's, in seconds."""

    arrived: float
    request_id: str = field(default_factory=lambda: uuid4().hex)
    trace_id: str | None = None  # of a W3C traceparent: the whole trace
    parent_id: str | None = None  # and the span that asked
    patience: float | None = None  # seconds that the client gives, from the arrival of the head
    body_bytes: int = 0  # arrived so far
    body_ended: float | None = None
    key: str | None = None  # the name of the key that let it in
    answered: bool = False  # the last byte of the answer is on its way
    gone: bool = False  # the client hung up before that

    @classmethod
    def of(cls, headers: Headers, arrived: float) -> "Call":
        """Takes the client's request id and traceparent if they are sane; makes an id of its own otherwise."""
        call = cls(arrived)
        if _SANE_ID.fullmatch(headers.get(REQUEST_ID_HEADER, "")):
            call.request_id = headers[REQUEST_ID_HEADER]
        trace = _TRACEPARENT.fullmatch(headers.get("traceparent", "")[:200])
        if trace and int(trace[1], 16) and int(trace[2], 16):
            call.trace_id, call.parent_id = trace[1], trace[2]
        return call

    def deadline(self, seconds: float) -> float:
        """When the answer must be there: `seconds` after the body was, or when the client's patience ends if that is sooner."""
        ours = (self.arrived if self.body_ended is None else self.body_ended) + seconds
        return ours if self.patience is None else min(ours, self.arrived + self.patience)


def read_patience(headers: Headers) -> float | None:
    """Seconds in X-Request-Timeout. Raises BadHeader for what is no positive number."""
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


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """The request that this code runs for, if it does for one."""
    return _current.get()


def enter_call(call: Call) -> None:
    """From here on, in this task and those it starts, `current_call` is this one."""
    _current.set(call)
