"""Cross-origin requests (CORS, the Fetch standard): options for Starlette's CORSMiddleware.

The service uses no cookies, so a script can authenticate only with an API key that it knows.
"""

from collections.abc import Sequence
from typing import Any

from service.auth.api_keys import KEY_HEADER
from service.request.context import JSON_LENGTH_HEADER, REQUEST_ID_HEADER, TIMEOUT_HEADER

REQUEST_HEADERS = ("Authorization", KEY_HEADER, "Content-Type", REQUEST_ID_HEADER, TIMEOUT_HEADER, "traceparent", JSON_LENGTH_HEADER)
RESPONSE_HEADERS = (REQUEST_ID_HEADER, "Retry-After", "WWW-Authenticate", JSON_LENGTH_HEADER)


def cors_options(origins: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of CORSMiddleware that let scripts from `origins` call the service and read its responses."""
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "HEAD", "POST"),
        "allow_headers": REQUEST_HEADERS,
        "expose_headers": RESPONSE_HEADERS,
    }
