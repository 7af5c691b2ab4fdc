"""Refuses a body that is too long while it arrives, not after.

Starlette has such a middleware, but where a length is declared it answers in plain text; ours answers with a problem.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge
from service.problems import problem_response

LINGER_BYTES = 8 * 1024**2
LINGER_SECONDS = 1.0


class BodyLimit:
    """ASGI middleware: a declared length over `max_bytes` is refused before a byte is read, any other once it is passed."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        seen, more = 0, True

        async def counted() -> Message:
            nonlocal seen, more
            message = await receive()
            seen += len(message.get("body", b""))
            more = message.get("more_body", False)
            self._check(seen, "has at least")
            return message

        try:
            self._check(int(declared) if declared.isdecimal() else 0, "declares")
            await self.app(scope, counted, send)
        except BodyTooLarge as error:
            await _refuse(error, receive if more else None, send)

    def _check(self, count: int, how: str) -> None:
        if count > self.max_bytes:
            raise BodyTooLarge(f"the body {how} {count:,} bytes; at most {self.max_bytes:,} are read. Send a smaller photo.")


async def _refuse(error: BodyTooLarge, receive: Receive | None, send: Send) -> None:
    """Answer, then close the connection: the rest of the body is never taken in.

    Not at once, though: what is under way when a connection closes resets it, and the client may lose the answer
    (RFC 9112, section 9.6). So a little more is read and dropped, until the client has seen the answer and stops.
    """
    response = problem_response(error)
    response.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if receive is not None:
        await _drop_rest(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drop_rest(receive: Receive) -> None:
    dropped = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while dropped < LINGER_BYTES:
                message = await receive()
                if not message.get("more_body", False):  # the end, or the client hung up
                    return
                dropped += len(message["body"])
    except TimeoutError:
        return
