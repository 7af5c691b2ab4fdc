"""Pacing of requests: a burst of them must not delay other clients.

The event loop runs every task that is ready before it looks for new input, and uvloop accepts one connection in each round. If 500
connections had a request in each round, another client would wait until all of their pipelined requests are answered: up to half a minute.
So only one request starts in a round, in the order of arrival. A request with a known API key starts at once.
"""

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth.authenticator import ApiKeyAuthenticator


class RequestPacingMiddleware:
    """Delays requests without a known API key while many of them arrive."""

    def __init__(self, app: ASGIApp, authenticator: ApiKeyAuthenticator) -> None:
        self.app = app
        self._authenticator = authenticator
        self._pacers = WeakKeyDictionary[asyncio.AbstractEventLoop, Pacer]()  # tests run an application in several event loops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not self._authenticator.has_known_key(Headers(scope=scope)):
            await self._pacers.setdefault(asyncio.get_running_loop(), Pacer()).wait()
        await self.app(scope, receive, send)


class Pacer:
    """Lets one caller of `wait` continue in each round of an event loop, first come, first served."""

    def __init__(self) -> None:
        self._waiting = deque[asyncio.Future[None]]()
        self._started = False  # in this round

    async def wait(self) -> None:
        """Wait for the caller's turn."""
        if not self._started:
            self._start_round()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _start_round(self) -> None:
        self._started = True
        asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        self._started = False
        while self._waiting and not self._started:
            turn = self._waiting.popleft()
            if not turn.done():  # the request has not been cancelled
                turn.set_result(None)
                self._start_round()
