"""API key checks as FastAPI security dependencies.

FastAPI resolves dependencies before an endpoint reads the body, so a request without a key costs little. DeepStack's clients send
the key as a form field; only their endpoints accept that.
"""

from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers

from service.auth.api_keys import KEY_HEADER, HashedKey, key_name
from service.errors import InvalidApiKey
from service.request.context import current_context
from service.settings import Settings

FORM_FIELD = "api_key"

_BEARER = HTTPBearer(scheme_name="bearer", description="Authorization: Bearer KEY", auto_error=False)
_HEADER = APIKeyHeader(name=KEY_HEADER, scheme_name="header", description="For clients that cannot set Authorization.", auto_error=False)

BearerCredentials = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
KeyHeader = Annotated[str | None, Security(_HEADER)]


class ApiKeyAuthenticator:
    """Checks API keys. An instance is a FastAPI dependency that raises InvalidApiKey unless a header has a known key."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [HashedKey.read(entry) for entry in settings.key_hashes]
        self._keys_in_forms = settings.keys_in_forms

    @property
    def enabled(self) -> bool:
        """Whether any keys are configured."""
        return bool(self._keys)

    def has_known_key(self, headers: Headers) -> bool:
        """Return whether a header has a known key. It raises nothing and records nothing, because the endpoint checks the key."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        keys = (headers.get(KEY_HEADER, ""), bearer.strip() if scheme.lower() == "bearer" else "")
        return any(key_name(self._keys, key.encode("latin-1")) for key in keys if key)

    async def __call__(self, bearer: BearerCredentials, header: KeyHeader) -> None:
        """Raise InvalidApiKey unless the request has a known key in a header."""
        if not self._check_headers(bearer, header):
            raise self._invalid(key_present=False)

    async def allow_form_key(self, bearer: BearerCredentials, header: KeyHeader) -> None:
        """Like `__call__`, but accept a request without a key in its headers. The endpoint must then call `check_form_key`."""
        self._check_headers(bearer, header)

    async def check_request(self, request: Request) -> None:
        """Like `__call__`, for requests that match no route."""
        if self.enabled:
            await self(await _BEARER(request), await _HEADER(request))

    @property
    def needs_form_key(self) -> bool:
        """Whether the current request must have its key in the form, because no header has one."""
        context = current_context()
        return self.enabled and (context is None or context.key_name is None)

    def check_form_key(self, key: bytes | None) -> None:
        """Raise InvalidApiKey unless a header or the form field `api_key` has a known key."""
        if self.needs_form_key and not self._identify(key or b""):
            raise self._invalid(key_present=bool(key))

    def _check_headers(self, bearer: HTTPAuthorizationCredentials | None, header: str | None) -> bool:
        """Return False if no header has a key. Raises InvalidApiKey if all keys are unknown."""
        keys = [bearer.credentials.strip()] if bearer else []
        keys += [header] if header else []
        if keys and not any(self._identify(key.encode("latin-1")) for key in keys):
            raise self._invalid(key_present=True)
        return bool(keys)

    def _identify(self, key: bytes) -> bool:
        """Store the name of a known key in the request context. Return False for an unknown key."""
        name, context = key_name(self._keys, key), current_context()
        if name and context:
            context.key_name = name
        return name is not None

    def _invalid(self, *, key_present: bool) -> InvalidApiKey:
        if key_present:
            return InvalidApiKey(
                "Unknown API key. Ask the operator of this service for a key.", 'Bearer realm="boxwright", error="invalid_token"'
            )
        message = f"This service requires an API key. Send it as 'Authorization: Bearer KEY' or '{KEY_HEADER}: KEY'."
        if self._keys_in_forms:
            message += f" DeepStack clients may send it as the form field {FORM_FIELD!r}."
        return InvalidApiKey(message, 'Bearer realm="boxwright"')
