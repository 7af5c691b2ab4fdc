"""The server process: accept requests, and shut down gracefully."""

import signal
import sys
import warnings
from time import monotonic
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from service.observability.logging import configure_logging
from service.server import hard_exit
from service.server.http_protocol import bounded_protocol
from service.server.lifecycle import Lifecycle
from service.settings import Settings

SWITCH_SECONDS = 0.0005
"""Thread switch interval of the interpreter. The event loop shares the interpreter with threads that compute, and Python's default of
5 ms delays it. In interleaved runs on 2 busy cores, a tenth of the default gave 1.03 to 2.5 times the throughput."""

EXIT_SECONDS = 2
"""Part of the grace time that is reserved for the exit of the process, after unfinished requests have been cancelled."""


def run_server(app: FastAPI, settings: Settings) -> None:
    """Serve the application until SIGTERM or Ctrl-C."""
    sys.setswitchinterval(SWITCH_SECONDS)
    configure_logging(settings.log_format, settings.log_level)
    # Ctrl-C before the event loop runs leaves a coroutine of uvicorn that nothing awaits.
    warnings.filterwarnings("ignore", message="coroutine 'Server.serve' was never awaited")
    GracefulServer(server_config(app, settings), app.state.lifecycle, settings).run()


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration for these settings."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded_protocol(settings),
        log_config=None,
        access_log=False,  # uvicorn's access log contains the query
        timeout_graceful_shutdown=max(0, int(settings.grace_seconds - settings.notice_seconds - EXIT_SECONDS)),
        ws="none",
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
    )


class GracefulServer(uvicorn.Server):
    """Keeps listening for `notice_seconds` after SIGTERM, while /readyz reports that the service is not ready.

    A load balancer notices and sends new requests elsewhere before the socket closes. The process ends within `grace_seconds`, even
    if a thread is still decoding an image.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, settings: Settings) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._notice_seconds = settings.notice_seconds
        self._grace_seconds = settings.grace_seconds
        self._stop_listening_at: float | None = None
        self._end_at = 0.0  # of the grace time
        self._exit_timer_started = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal. The first SIGTERM starts the notice. After any other signal, the server stops listening at once."""
        first = not self._lifecycle.shutting_down
        self._lifecycle.shutting_down = True
        if first:
            self._end_at = monotonic() + self._grace_seconds
            hard_exit.arm_kill(self._grace_seconds)
        if first and sig == signal.SIGTERM:
            self._stop_listening_at = monotonic() + self._notice_seconds
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Return True when it is time to stop listening. uvicorn calls this ten times per second."""
        if self._lifecycle.shutting_down and not self._exit_timer_started:
            # The signal handler cannot start this timer, because starting a thread takes locks.
            hard_exit.start_exit_timer(max(0.0, self._end_at - monotonic() - hard_exit.KILL_MARGIN))
            self._exit_timer_started = True
        if self._stop_listening_at is not None and monotonic() >= self._stop_listening_at:
            super().handle_exit(signal.SIGTERM, None)  # uvicorn raises the signal again after its shutdown
        return await super().on_tick(counter)
