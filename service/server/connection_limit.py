"""Limit of open connections."""

import asyncio
import logging
from time import monotonic

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

logger = logging.getLogger("boxwright.service")

FILES_PER_CONNECTION = 2
"""A socket, and a static file while it is sent."""
RESERVED_FILES = 128
"""File descriptors reserved for everything except connections, such as models, pipes and libraries."""

LOG_INTERVAL = 60.0  # Seconds between two log lines about the limit.


def effective_limit(max_connections: int, max_files: int | None = None) -> int:
    """Lower the limit so that connections cannot use up the process's file descriptors.

    Args:
        max_connections: The configured limit.
        max_files: Open files that the process may have. None: the limit of this process, which is raised if the system allows it.
    """
    if max_files is None:
        max_files = _raise_file_limit(FILES_PER_CONNECTION * max_connections + RESERVED_FILES)
    if max_files <= 0:  # no limit, or not known
        return max_connections
    allowed = max(1, (max_files - RESERVED_FILES) // FILES_PER_CONNECTION)
    if allowed < max_connections:
        logger.warning("lowered max_connections from %d to %d: the process may open only %d files", max_connections, allowed, max_files)
    return min(max_connections, allowed)


def _raise_file_limit(needed: int) -> int:
    """Raise the process's limit of open files to `needed` as far as the hard limit allows. Return the limit, or 0 if it is not known."""
    if resource is None:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < needed and soft != hard:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


class ConnectionLimit:
    """Closes the connection that has been idle for longest when there are too many.

    A connection is busy while the service processes one of its requests. It is idle while it waits for its client: for a request, for
    the rest of a body, or to read a response. If all are busy, the new connection is closed.
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
        """Record that the connection waits for its client. Repeated calls do not extend the idle time."""
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
