"""Limit of open connections."""

import asyncio
import logging
from time import monotonic

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

logger = logging.getLogger("boxwright.service")

RESERVED_FILES = 128  # File descriptors reserved for everything except connections, such as models, pipes and libraries.

LOG_INTERVAL = 60.0  # Seconds between two log lines about the limit.


def effective_limit(max_connections: int, max_files: int | None = None) -> int:
    """Lower the limit so that connections cannot use up the file descriptors of the process; `max_files` defaults to the system's limit."""
    if max_files is None:
        max_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else 0
    if max_files <= 0:  # no limit, or not known
        return max_connections
    allowed = max(1, max_files - RESERVED_FILES)
    if allowed < max_connections:
        logger.warning("lowered max_connections from %d to %d: the process may open only %d files", max_connections, allowed, max_files)
    return min(max_connections, allowed)


class ConnectionLimit:
    """Closes the connection that has been idle for longest when there are too many.

    A connection is idle while no request of it is being processed. If all are busy, the new connection is closed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[asyncio.Transport] = set()
        self._idle: dict[asyncio.Transport, None] = {}  # ordered by the start of the idle time
        self._closed = 0  # since the last log line
        self._log_after = 0.0

    def opened(self, transport: asyncio.Transport) -> None:
        """Count a new connection, and close one if there are too many."""
        self._open.add(transport)
        self._idle[transport] = None
        if len(self._open) > self._limit:
            self._close(next(iter(self._idle)))

    def busy(self, transport: asyncio.Transport) -> None:
        """Record that a request of the connection is being processed."""
        self._idle.pop(transport, None)

    def idle(self, transport: asyncio.Transport) -> None:
        """Record that the connection waits for its next request."""
        if transport in self._open:
            self._idle[transport] = None

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._open.discard(transport)
        self._idle.pop(transport, None)

    def _close(self, transport: asyncio.Transport) -> None:
        self.closed(transport)
        transport.abort()
        self._closed += 1
        if monotonic() >= self._log_after:
            logger.warning("the limit of %d open connections is reached; idle connections closed: %d", self._limit, self._closed)
            self._closed, self._log_after = 0, monotonic() + LOG_INTERVAL
