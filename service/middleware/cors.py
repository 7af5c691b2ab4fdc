"""Which other pages' scripts may ask this service (CORS, the Fetch standard). None, unless origins are set."""

import re

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from service.auth.api_keys import HEADER as KEY_HEADER
from service.request.context import REQUEST_ID_HEADER, TIMEOUT_HEADER
from service.routes.open_inference import JSON_LENGTH

ANY = "*"
ASKED = ("Authorization", KEY_HEADER, "Content-Type", REQUEST_ID_HEADER, TIMEOUT_HEADER, "traceparent", JSON_LENGTH)
TOLD = (REQUEST_ID_HEADER, "Retry-After", "WWW-Authenticate", JSON_LENGTH)

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?")


def check_origin(origin: str) -> str:
    """Raises ValueError for what is no origin as browsers send it: "https://app.example", no path, small letters; or "*"."""
    if origin != ANY and not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"an origin is https://host or http://host:port, in small letters and with nothing after it, or *; not {origin[:80]!r}"
        )
    return origin


class OtherOrigins(CORSMiddleware):
    """ASGI middleware: preflights are answered without a key, and answers may be read by scripts of `origins`.

    Browsers send no cookies along, and the service knows none; a key is sent by the script that has it.
    """

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        super().__init__(app, allow_origins=origins, allow_methods=("GET", "HEAD", "POST"), allow_headers=ASKED, expose_headers=TOLD)
