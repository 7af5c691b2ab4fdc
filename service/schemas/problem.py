"""Refusals as HTTP: one table from error to status, and problem details (RFC 9457) made from it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.errors import DamagedImage, EmptyImage, ImageTooLarge, NotAnImage, UnknownLabel, UnknownModel
from service.errors import (
    BadForm,
    BadHeader,
    BadJson,
    BodyTooLarge,
    DeadlineMissed,
    KeyWanted,
    NoModel,
    Overloaded,
    ShuttingDown,
    SlowBody,
    Unavailable,
    UnsupportedBody,
)
from service.schemas.detections import ParameterProblem, Problem

logger = logging.getLogger("boxwright.service")

MEDIA_TYPE = "application/problem+json"
MOST_PARAMETERS = 10
"""Told of in one answer: what a request says is not sent back without end."""


@dataclass(frozen=True)
class Kind:
    """What one kind of refusal is over HTTP."""

    status: int
    slug: str  # the end of the problem's type
    title: str  # the same for every occurrence

    @property
    def type(self) -> str:
        """The URI that identifies this kind."""
        return f"urn:boxwright:problem:{self.slug}" if self.slug else "about:blank"


KINDS: Mapping[type[Exception], Kind] = {
    EmptyImage: Kind(400, "empty-photo", "The photo is empty"),
    BadForm: Kind(400, "bad-form", "The form cannot be read"),
    BadJson: Kind(400, "bad-json", "The JSON cannot be used"),
    BadHeader: Kind(400, "bad-header", "A header is not valid"),
    KeyWanted: Kind(401, "key-wanted", "A key is wanted"),
    UnknownModel: Kind(404, "unknown-model", "There is no such model"),
    SlowBody: Kind(408, "slow-body", "The body took too long to arrive"),
    BodyTooLarge: Kind(413, "body-too-large", "The body has too many bytes"),
    ImageTooLarge: Kind(413, "photo-too-large", "The photo has too many pixels"),
    NotAnImage: Kind(415, "not-an-image", "The body is not an image"),
    UnsupportedBody: Kind(415, "unsupported-body", "The content type holds no photo"),
    DamagedImage: Kind(422, "damaged-image", "The image is damaged"),
    UnknownLabel: Kind(422, "unknown-class", "There is no such class"),
    RequestValidationError: Kind(422, "bad-parameter", "A parameter is not valid"),
    Overloaded: Kind(503, "overloaded", "Too many photos wait"),
    NoModel: Kind(503, "no-model", "There is no model yet"),
    ShuttingDown: Kind(503, "shutting-down", "The service is ending"),
    DeadlineMissed: Kind(504, "deadline-missed", "There was not enough time"),
}
UNEXPECTED = Kind(500, "unexpected", "Something went wrong here")


def problem_response(error: Exception) -> Response:
    """The answer to a request that failed with `error`. Of an error that is not in the table it tells nothing."""
    kind = next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), None)
    if kind is None:
        return _response(UNEXPECTED, "The service failed to answer; its log says why. Trying again may help.")
    if isinstance(error, RequestValidationError):
        errors = [_parameter_problem(entry) for entry in error.errors()[:MOST_PARAMETERS]]
        return _response(kind, " ".join(f"{entry.parameter}: {entry.detail}" for entry in errors), errors=errors)
    return _response(kind, str(error), headers=_headers_of(error))


def _headers_of(error: Exception) -> Mapping[str, str]:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after)}
    return {"WWW-Authenticate": error.challenge} if isinstance(error, KeyWanted) else {}


def install(app: FastAPI) -> None:
    """Answer every error with a problem."""

    async def refuse(_: Request, error: Exception) -> Response:
        return problem_response(error)

    for error in KINDS:
        app.add_exception_handler(error, refuse)
    app.add_exception_handler(HTTPException, _http_problem)


class LastResort:
    """ASGI middleware: an error that nobody caught is logged with its traceback and answered without it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            logger.info("%s %s: the client hung up", scope["method"], scope["path"])
        except Exception as error:
            if started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await problem_response(error)(scope, receive, send)


async def _http_problem(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: a path or a method that is not there."""
    assert isinstance(error, HTTPException)
    details = {
        404: f"there is nothing at {request.url.path[:80]}; /docs lists what there is.",
        405: f"{request.url.path[:80]} does not take {request.method}; /docs says what it takes.",
    }
    kind = Kind(error.status_code, "", HTTPStatus(error.status_code).phrase)
    return _response(kind, details.get(error.status_code, error.detail), headers=error.headers)


def _response(
    kind: Kind, detail: str, *, errors: list[ParameterProblem] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    problem = Problem(type=kind.type, title=kind.title, status=kind.status, detail=detail, errors=errors)
    return Response(problem.model_dump_json(exclude_none=True), kind.status, headers, MEDIA_TYPE)


def _parameter_problem(entry: Mapping[str, Any]) -> ParameterProblem:
    name = ".".join(str(part) for part in entry["loc"][1:])[:80]
    if entry["type"] == "extra_forbidden":
        return ParameterProblem(parameter=name, detail="there is no such parameter; /docs lists them.")
    return ParameterProblem(parameter=name, detail=f"{entry['msg']}, got {str(entry['input'])[:80]!r}.")


def documented(*errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """These refusals for an endpoint's OpenAPI `responses`, an example of each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in (*(KINDS[error] for error in errors), UNEXPECTED):
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        response = responses.setdefault(kind.status, {"description": "", "content": {MEDIA_TYPE: content}})
        response["description"] = "; ".join(filter(None, (response["description"], kind.title)))
        example = Problem(type=kind.type, title=kind.title, status=kind.status, detail="A sentence that says what to do.")
        response["content"][MEDIA_TYPE]["examples"][kind.slug] = {"value": example.model_dump(exclude_none=True)}
    return responses
