"""Cross-origin requests (CORS, the Fetch standard): options for Starlette's CORSMiddleware.

Browsers send no cookies, and the service uses none: a script must know an API key to send it.
"""

import re
from collections.abc import Sequence
from typing import Any

from service.auth.api_keys import HEADER as KEY_HEADER
from service.request.context import REQUEST_ID_HEADER, TIMEOUT_HEADER
from service.routes.open_inference import JSON_LENGTH_HEADER

ANY_ORIGIN = "*"
REQUEST_HEADERS = ("Authorization", KEY_HEADER, "Content-Type", REQUEST_ID_HEADER, TIMEOUT_HEADER, "traceparent", JSON_LENGTH_HEADER)
RESPONSE_HEADERS = (REQUEST_ID_HEADER, "Retry-After", "WWW-Authenticate", JSON_LENGTH_HEADER)

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?")


def check_origin(origin: str) -> str:
    """Return `origin` if it is "*" or an origin as browsers send it, such as "https://app.example". Raises ValueError otherwise."""
    if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
        raise ValueError(f"an origin must be *, https://host or http://host:port, in lower case and without a path, got {origin[:80]!r}")
    return origin


def cors_options(origins: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of CORSMiddleware that let scripts from `origins` call the service and read its responses."""
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "HEAD", "POST"),
        "allow_headers": REQUEST_HEADERS,
        "expose_headers": RESPONSE_HEADERS,
    }
