"""What browsers may do with our answers: as little as each needs (W3C Content Security Policy 3, OWASP Secure Headers)."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOWHERE_ELSE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    f"require-trusted-types-for 'script'; trusted-types 'none'; {NOWHERE_ELSE}"
)
"""The page's: nothing inline, nothing from elsewhere, no HTML made of strings. blob: are the photos that it shows."""

SWAGGER = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    f"{NOWHERE_ELSE}"
)
"""That of /docs: Swagger UI starts from an inline script and has inline styles."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class SecurityHeaders:
    """ASGI middleware: every answer has the headers; /docs alone has the looser policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        policy = SWAGGER if f"{scope['path']}/".startswith("/docs/") else STRICT

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS | {"content-security-policy": policy})
            await send(message)

        await self.app(scope, receive, with_headers)
