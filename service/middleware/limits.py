"""What comes in is let in by the door, and bounded: a body's bytes, its time, all bodies' bytes together, and whether there is room.

A body is refused while it arrives, not after, and the connection is closed then: the rest is never taken in. Starlette has such a
middleware for the length alone; where one is declared it answers in plain text, ours with a problem.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.authenticator import Door
from service.errors import RequestError, SlowBody
from service.middleware.admission import Room
from service.request.context import Call, current_call, read_patience
from service.schemas.problem import problem_response

LINGER_BYTES = 8 * 1024**2
LINGER_SECONDS = 1.0


class Intake:
    """ASGI middleware. Whoever is inside sees bodies within bounds only, and is cancelled when the client hangs up."""

    def __init__(self, app: ASGIApp, room: Room, door: Door) -> None:
        self.app = app
        self.room = room
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; `current_call` must be that."""
        call = current_call()
        if scope["type"] != "http" or call is None:
            await self.app(scope, receive, send)
            return
        body = _Body(call, self.room, receive)
        try:
            self._check_head(scope, call)
            await self.app(scope, body.receive, body.guarded(send))
        except _Refused as refused:
            await _refuse(refused.error, body, receive, send)
        except asyncio.CancelledError:
            if not call.gone:
                raise
            body.task.uncancel()
            raise ClientDisconnect from None
        finally:
            body.done()

    def _check_head(self, scope: Scope, call: Call) -> None:
        """What can be refused before a byte of the body is read."""
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        try:
            self.door.check_head(scope["method"], scope["path"], headers, call)
            call.patience = read_patience(headers)
            self.room.check_length(int(declared) if declared.isdecimal() else 0, "declares")
            if scope["method"] == "POST":  # these bring photos; whatever else is asked costs next to nothing
                self.room.check_queue()
        except RequestError as error:
            raise _Refused(error) from error


class _Refused(Exception):
    """Not one of our errors, so that nobody inside makes an ordinary answer of it."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(str(error))
        self.error = error


class _Body:
    """A request's body as it arrives, and afterwards the news that the client hung up."""

    def __init__(self, call: Call, room: Room, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.ended = False  # its last byte has arrived
        self._call, self._room, self._receive = call, room, receive
        self._refused: _Refused | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The next piece. Raises _Refused."""
        if self._watcher is not None:
            await asyncio.wait([self._watcher])
            return {"type": "http.disconnect"}
        message = await self._next()
        if message["type"] == "http.disconnect":
            self._call.gone = not self._call.answered
            return message
        self.ended = not message.get("more_body", False)
        count = len(message.get("body", b""))
        self._call.body_bytes += count
        try:
            self._room.take(count)
            self._room.check_length(self._call.body_bytes, "has at least")
        except RequestError as error:
            raise self._refuse(error) from error
        if self.ended:
            self._call.body_ended = asyncio.get_running_loop().time()
            self._watcher = asyncio.create_task(self._watch())
        return message

    async def _next(self) -> Message:
        seconds = self._room.settings.body_seconds
        try:
            async with asyncio.timeout_at(self._call.arrived + seconds):
                return await self._receive()
        except TimeoutError as error:
            self._room.metrics.slow_bodies.inc()
            got = f"{self._call.body_bytes:,} bytes"
            slow = SlowBody(
                f"after {seconds:g} s the body is not there yet, only {got} of it; send a smaller photo, or over a faster line."
            )
            raise self._refuse(slow) from error

    async def _watch(self) -> None:
        await self._receive()  # after the body there is nothing to come but the client's hanging up
        if not self._call.answered:
            self._call.gone = True
            self.task.cancel()

    def _refuse(self, error: RequestError) -> _Refused:
        self._refused = _Refused(error)
        return self._refused

    def guarded(self, send: Send) -> Send:
        """`send` that lets no answer out that was made of half a body, and notes when the answer is complete."""

        async def checked(message: Message) -> None:
            if self._refused is not None:
                raise self._refused
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._call.answered = True
            await send(message)

        return checked

    def done(self) -> None:
        """Nobody reads any more."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._room.give_back(self._call.body_bytes)


async def _refuse(error: RequestError, body: _Body, receive: Receive, send: Send) -> None:
    """Answer, then close the connection.

    Not at once, though: what is under way when a connection closes resets it, and the client may lose the answer
    (RFC 9112, section 9.6). So a little more is read and dropped, until the client has seen the answer and stops.
    """
    response = problem_response(error)
    response.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if not body.ended:
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
