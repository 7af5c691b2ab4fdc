"""How each HTTP protocol reports errors. The path of a request selects the protocol.

The native endpoints send problem details (RFC 9457). Clients of the other protocols expect a field `error`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response
from starlette.exceptions import HTTPException

from service.errors import InvalidApiKey, Unavailable
from service.schemas.problem import Problem
from service.schemas.problem_kinds import EXAMPLE_DETAIL, PROBLEM_KINDS, UNEXPECTED, problem_of

Responses = dict[int | str, dict[str, Any]]  # The parameter `responses` of FastAPI's routes.

CHALLENGE_HEADER = {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}, "description": "RFC 6750."}}


@dataclass(frozen=True)
class ErrorFormat:
    """The error responses of one protocol."""

    prefix: str  # of the paths of the protocol
    write: Callable[[Problem], str] = lambda problem: problem.model_dump_json(exclude_none=True)
    media_type: str = "application/problem+json"
    schema: Mapping[str, Any] = field(default_factory=lambda: {"$ref": "#/components/schemas/Problem"})
    statuses: Mapping[int, int] = field(default_factory=dict)  # statuses that the protocol does not use -> the one to use

    def response(self, error: Exception) -> Response:
        """Return the response to a request that failed with `error`."""
        problem = problem_of(error)
        status = self.statuses.get(problem.status, problem.status)
        return Response(self.write(problem), status, _headers(error), self.media_type)

    def documented(self, *errors: type[Exception]) -> Responses:
        """Return the OpenAPI responses for these errors and for an internal error, with an example of each."""
        responses: Responses = {}
        for kind in (*(PROBLEM_KINDS[error] for error in errors), UNEXPECTED):
            status = self.statuses.get(kind.status, kind.status)
            content = {self.media_type: {"schema": self.schema, "examples": {}}}
            response = responses.setdefault(status, {"description": "", "content": content})
            response["description"] = "; ".join(filter(None, (response["description"], kind.title)))
            response["content"][self.media_type]["examples"][kind.slug] = {"value": json.loads(self.write(kind.problem(EXAMPLE_DETAIL)))}
        if 401 in responses:
            responses[401]["headers"] = CHALLENGE_HEADER
        return responses


def _headers(error: Exception) -> Mapping[str, str] | None:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, InvalidApiKey):
        return {"WWW-Authenticate": error.challenge}
    return error.headers if isinstance(error, HTTPException) else None


def _error_object(prefix: str, **constants: bool) -> ErrorFormat:
    """Return the format {"error": "..."} with further fields that never change."""
    properties = {name: {"type": "boolean"} for name in constants} | {"error": {"type": "string"}}
    return ErrorFormat(
        prefix,
        lambda problem: json.dumps(constants | {"error": problem.detail}),
        "application/json",
        {"type": "object", "required": list(properties), "properties": properties},
        {415: 400, 422: 400},
    )


NATIVE = ErrorFormat("")
OPEN_INFERENCE = _error_object("/v2")
TENSORFLOW_SERVING = _error_object("/v1/models")
DEEPSTACK = _error_object("/v1", success=False)  # all other paths under /v1, because CodeProject.AI also has paths outside of /v1/vision


def error_format(path: str) -> ErrorFormat:
    """Return the error format of the protocol that `path` belongs to."""
    formats = (OPEN_INFERENCE, TENSORFLOW_SERVING, DEEPSTACK)
    return next((each for each in formats if path == each.prefix or path.startswith(f"{each.prefix}/")), NATIVE)
