"""The server's process: it listens, and ends in order."""

import signal
import sys
from time import monotonic
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.observability.logging import configure_logging
from service.server.http_protocol import bounded_protocol
from service.server.lifecycle import Lifecycle
from service.settings import Settings

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from the others. Python's own 5 ms is long for an event loop beside threads that
compute: in turns on a busy machine of 2 cores, three times each, a tenth of it gave 1.03 to 2.5 times the answers."""


def run_server(app: FastAPI, settings: Settings) -> None:
    """Answer until SIGTERM or Ctrl-C."""
    sys.setswitchinterval(SWITCH_SECONDS)
    configure_logging(settings.log_format, settings.log_level)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded_protocol(settings),
        log_config=None,
        access_log=False,  # uvicorn's has the query in it
        timeout_graceful_shutdown=max(1, settings.grace_seconds - round(settings.notice_seconds)),
        ws="none",
        server_header=False,
    )
    Server(config, app.state.lifecycle, settings.notice_seconds).run()


class Server(uvicorn.Server):
    """Between SIGTERM and the end of listening it answers as before for `notice_seconds`, but is not ready any more.

    Whoever spreads the load sees that from /readyz and sends requests elsewhere, so that none finds a closed door.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, notice_seconds: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._notice_seconds = notice_seconds
        self._leaves_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first SIGTERM is given notice of, anything else is obeyed at once."""
        if sig == signal.SIGTERM and not self._lifecycle.ending:
            self._captured_signals.append(sig)
            self._leaves_at = monotonic() + self._notice_seconds
        else:
            super().handle_exit(sig, frame)
        self._lifecycle.ending = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to go."""
        if self._leaves_at is not None and monotonic() >= self._leaves_at:
            self.should_exit = True
        return await super().on_tick(counter)
