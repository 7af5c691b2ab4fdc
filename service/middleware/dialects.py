"""A refusal, said as the protocol that was spoken says it.

Every refusal, whoever makes it, is a problem detail (RFC 9457). Clients of other protocols look for other fields, so on
the paths of those protocols the problem becomes theirs on its way out; status and sentence are all that they have.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.schemas.problem import KINDS, MEDIA_TYPE, UNEXPECTED

PLAIN_STATUSES = {415: 400, 422: 400}
"""What is wrong with a photo or an option is 400 in these protocols; the statuses that they do not know are not sent."""


@dataclass(frozen=True)
class Dialect:
    """How one protocol refuses."""

    path: str  # itself and what is under it
    body: Callable[[str], Mapping[str, Any]]

    def speaks(self, path: str) -> bool:
        """Whether that path is the protocol's."""
        return path == self.path or path.startswith(f"{self.path}/")

    def documented(self, *errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
        """These refusals for an endpoint's OpenAPI `responses`."""
        responses: dict[int | str, dict[str, Any]] = {}
        example = self.body("A sentence that says what to do.")
        schema = {
            "type": "object",
            "required": list(example),
            "properties": {name: {"type": "boolean" if isinstance(value, bool) else "string"} for name, value in example.items()},
        }
        for kind in (*(KINDS[error] for error in errors), UNEXPECTED):
            status = PLAIN_STATUSES.get(kind.status, kind.status)
            content = {"application/json": {"schema": schema, "example": example}}
            response = responses.setdefault(status, {"description": "", "content": content})
            response["description"] = "; ".join(filter(None, (response["description"], kind.title)))
        return responses


DEEPSTACK = Dialect("/v1/vision", lambda detail: {"success": False, "error": detail})
OPEN_INFERENCE = Dialect("/v2", lambda detail: {"error": detail})
TENSORFLOW_SERVING = Dialect("/v1/models", lambda detail: {"error": detail})
DIALECTS = (DEEPSTACK, OPEN_INFERENCE, TENSORFLOW_SERVING)


class SpeakDialect:
    """ASGI middleware: on the paths of a dialect, problems go out in that dialect."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        dialect = next((dialect for dialect in DIALECTS if scope["type"] == "http" and dialect.speaks(scope["path"])), None)
        if dialect is None:
            await self.app(scope, receive, send)
            return
        held: Message | None = None

        async def translated(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE:
                held = message
            elif held is not None:  # a problem's body comes in one piece
                start, body = _translate(dialect, held, message)
                held = None
                await send(start)
                await send(body)
            else:
                await send(message)

        await self.app(scope, receive, translated)


def _translate(dialect: Dialect, start: Message, body: Message) -> tuple[Message, Message]:
    problem = json.loads(body["body"])
    words = json.dumps(dialect.body(problem["detail"])).encode()
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-type"], headers["content-length"] = "application/json", str(len(words))
    status = PLAIN_STATUSES.get(start["status"], start["status"])
    return {**start, "status": status, "headers": headers.raw}, {**body, "body": words}
