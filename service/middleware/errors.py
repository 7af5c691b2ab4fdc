"""Exception handlers: every error becomes a response in the format of the protocol that the path belongs to."""

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from detector.errors import BoxwrightError
from service.auth.authenticator import ApiKeyAuthenticator
from service.errors import InvalidApiKey
from service.schemas.error_formats import error_format
from service.schemas.problem_kinds import KNOWN_PARAMETERS, UNEXPECTED, problem_kind

logger = logging.getLogger("boxwright.service")


def install_error_handlers(app: FastAPI) -> None:
    """Register handlers for the error classes of the project and of FastAPI."""
    for error in (BoxwrightError, RequestValidationError):
        app.add_exception_handler(error, _handle_error)
    app.add_exception_handler(HTTPException, _handle_unmatched)


def error_response(request: Request, error: Exception) -> Response:
    """Return the response for `error`. An unexpected error is logged with its traceback."""
    if problem_kind(error) is UNEXPECTED:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_format(request.url.path).response(error)


async def _handle_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        _add_known_parameters(request, error)
    return error_response(request, error)


def _add_known_parameters(request: Request, error: RequestValidationError) -> None:
    """Add the names of the endpoint's query parameters to errors about unknown ones, so that the message can suggest the closest."""
    models = [field.field_info.annotation for field in request.scope["route"].dependant.query_params]
    known = [name for model in models for name in model.model_fields]
    for entry in error.errors():
        if entry["type"] == "extra_forbidden":
            entry["ctx"] = {KNOWN_PARAMETERS: known}


async def _handle_unmatched(request: Request, error: Exception) -> Response:
    """Answer a request for an unknown path, or with an unsupported method. Without a valid API key, the response is 401 instead."""
    assert isinstance(error, HTTPException)
    authenticator: ApiKeyAuthenticator = request.app.state.authenticator
    try:
        await authenticator.check_request(request)
    except InvalidApiKey as missing:
        return error_response(request, missing)
    path = request.url.path[:80]
    details = {
        404: f"There is nothing at {path}. See /docs for the endpoints.",
        405: f"{path} does not support {request.method}. See /docs for the methods.",
    }
    return error_response(request, HTTPException(error.status_code, details.get(error.status_code, error.detail), error.headers))
