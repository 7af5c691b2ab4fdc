"""Security headers, which restrict what browsers may do with our responses (W3C CSP 3, OWASP Secure Headers)."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NO_FRAMES = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    f"require-trusted-types-for 'script'; trusted-types 'none'; {_NO_FRAMES}"
)
"""For the page: no inline scripts, nothing from other origins, no HTML from strings. blob: is for the images that the page shows."""

SWAGGER_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    f"{_NO_FRAMES}"
)
"""For /docs: Swagger UI has an inline script and inline styles."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class SecurityHeadersMiddleware:
    """Adds the headers to every response. Only /docs gets the less strict policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        policy = SWAGGER_POLICY if f"{scope['path']}/".startswith("/docs/") else STRICT_POLICY

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS | {"content-security-policy": policy})
            await send(message)

        await self.app(scope, receive, send_with_headers)
