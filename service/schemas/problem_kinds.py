"""Table of the error classes with their HTTP status and kind of problem."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from detector.errors import DamagedImage, EmptyImage, ImageTooLarge, NotAnImage, UnknownLabel, UnknownModel
from detector.messages import did_you_mean
from service.errors import (
    BadForm,
    BadHeader,
    BadJson,
    BodyTimeout,
    BodyTooLarge,
    DeadlineMissed,
    ForbiddenOrigin,
    InvalidApiKey,
    NoModel,
    Overloaded,
    ResponseTooLarge,
    ShuttingDown,
    UnsupportedMediaType,
)
from service.schemas.problem import ParameterProblem, Problem

KNOWN_PARAMETERS = "known"
"""Key in the context of an error about an unknown parameter: the names of the endpoint's query parameters."""

MAX_PARAMETER_ERRORS = 10
"""Maximum number of parameter errors in one response, so that the service does not repeat a long request."""


@dataclass(frozen=True)
class ProblemKind:
    """HTTP status, URI and title of one kind of problem."""

    status: int
    slug: str  # the end of the URI
    title: str

    def problem(self, detail: str, errors: list[ParameterProblem] | None = None) -> Problem:
        """Return a problem of this kind."""
        uri = f"urn:boxwright:problem:{self.slug}" if self.slug else "about:blank"
        return Problem(type=uri, title=self.title, status=self.status, detail=detail, errors=errors)


PROBLEM_KINDS: Mapping[type[Exception], ProblemKind] = {
    EmptyImage: ProblemKind(400, "empty-image", "The image is empty"),
    BadForm: ProblemKind(400, "bad-form", "The form is not valid"),
    BadJson: ProblemKind(400, "bad-json", "The JSON is not valid"),
    BadHeader: ProblemKind(400, "bad-header", "A header is not valid"),
    InvalidApiKey: ProblemKind(401, "key-required", "A valid API key is required"),
    ForbiddenOrigin: ProblemKind(403, "forbidden-origin", "The host or the origin is not allowed"),
    UnknownModel: ProblemKind(404, "unknown-model", "Unknown model"),
    BodyTimeout: ProblemKind(408, "slow-body", "The body took too long to arrive"),
    BodyTooLarge: ProblemKind(413, "body-too-large", "The body is too large"),
    ImageTooLarge: ProblemKind(413, "image-too-large", "The image is too large"),
    ResponseTooLarge: ProblemKind(413, "response-too-large", "The response is too large"),
    NotAnImage: ProblemKind(415, "not-an-image", "This is not a supported image"),
    UnsupportedMediaType: ProblemKind(415, "unsupported-body", "The content type is not supported"),
    DamagedImage: ProblemKind(422, "damaged-image", "The image is damaged"),
    UnknownLabel: ProblemKind(422, "unknown-class", "Unknown class"),
    RequestValidationError: ProblemKind(422, "bad-parameter", "A parameter is not valid"),
    Overloaded: ProblemKind(503, "overloaded", "The service is overloaded"),
    NoModel: ProblemKind(503, "no-model", "No model is loaded"),
    ShuttingDown: ProblemKind(503, "shutting-down", "The service is shutting down"),
    DeadlineMissed: ProblemKind(504, "deadline-missed", "The deadline passed"),
}
UNEXPECTED = ProblemKind(500, "unexpected", "Internal error")
EXAMPLE_DETAIL = "A sentence that explains the problem and what to do."


def problem_kind(error: Exception) -> ProblemKind:
    """Return the kind of problem for `error`, or `UNEXPECTED` if its class is not in the table."""
    if isinstance(error, HTTPException):  # from Starlette: an unknown path, or a method that the path does not support
        return ProblemKind(error.status_code, "", HTTPStatus(error.status_code).phrase)
    return next((PROBLEM_KINDS[cls] for cls in type(error).__mro__ if cls in PROBLEM_KINDS), UNEXPECTED)


def problem_of(error: Exception) -> Problem:
    """Return the problem to report for `error`. Unexpected errors are reported without their message."""
    kind = problem_kind(error)
    if kind is UNEXPECTED:
        return kind.problem("The service failed to answer. Its log has the reason. You may try again.")
    if isinstance(error, RequestValidationError):
        errors = [_parameter_problem(entry) for entry in error.errors()[:MAX_PARAMETER_ERRORS]]
        return kind.problem(" ".join(f"{entry.parameter}: {entry.detail}" for entry in errors), errors)
    return kind.problem(error.detail if isinstance(error, HTTPException) else str(error))


def _parameter_problem(entry: Mapping[str, Any]) -> ParameterProblem:
    name = ".".join(str(part) for part in entry["loc"][1:])[:80]
    if entry["type"] == "extra_forbidden":
        known = entry.get("ctx", {}).get(KNOWN_PARAMETERS, ())
        return ParameterProblem(parameter=name, detail=f"Unknown parameter.{did_you_mean(name, known)} See /docs for the parameters.")
    if "input" not in entry:
        return ParameterProblem(parameter=name, detail=f"{entry['msg']}.")
    return ParameterProblem(parameter=name, detail=f"{entry['msg'].removeprefix('Value error, ')}, got {str(entry['input'])[:80]!r}.")
