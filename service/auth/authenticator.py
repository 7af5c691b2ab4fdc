"""Who is let in. Where keys are set, health and what is the same on every installation is for all, and the rest for who has a key."""

import re
from collections.abc import Iterator

from starlette.datastructures import Headers

from service.auth.api_keys import HEADER, HashedKey, holder
from service.errors import KeyWanted
from service.middleware.dialects import DEEPSTACK
from service.request.context import Call, current_call
from service.settings import Settings

FORM_FIELD = "api_key"

HEALTH = r"/livez|/readyz|/v2/health/(live|ready)|/v2/models/[^/]+(/versions/[^/]+)?/ready"
SAME_EVERYWHERE = r"/|/web/.+|/docs|/docs/static/.+|/openapi\.json"
"""The page, which asks for a key, and the documentation."""
METRICS = r"/metrics"


class Door:
    """The keys of one application, and what is open without."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [HashedKey.read(entry) for entry in settings.key_hashes]
        self._open = re.compile("|".join([HEALTH, SAME_EVERYWHERE, *([METRICS] if settings.metrics_open else [])]))

    @property
    def locked(self) -> bool:
        """Whether there are keys."""
        return bool(self._keys)

    def is_open(self, method: str, path: str) -> bool:
        """Whether everybody may ask that."""
        return not self._keys or (method in ("GET", "HEAD") and self._open.fullmatch(path) is not None)

    def check_head(self, method: str, path: str, headers: Headers, call: Call) -> None:
        """Raises KeyWanted where the head has no valid key and needs one. DeepStack's clients have it in the form: `check_form`."""
        if self.is_open(method, path):
            return
        given = list(_given(headers))
        call.key = next(filter(None, (holder(self._keys, key.encode("latin-1")) for key in given)), None)
        in_form = method == "POST" and DEEPSTACK.speaks(path)
        if call.key is None and (given or not in_form):
            raise _refusal(wrong=bool(given))

    def asks_form(self) -> bool:
        """Whether this request's key is to be in its form, as none was in the head."""
        call = current_call()
        return self.locked and (call is None or call.key is None)

    def check_form(self, field: bytes | bytearray | None) -> None:
        """Raises KeyWanted where neither the head had a valid key nor the form's field `api_key` has."""
        if not self.asks_form():
            return
        name = holder(self._keys, field or b"")
        if name is None:
            raise _refusal(wrong=bool(field))
        if call := current_call():
            call.key = name


def _given(headers: Headers) -> Iterator[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip()
    if key := headers.get(HEADER):
        yield key


def _refusal(*, wrong: bool) -> KeyWanted:
    if wrong:
        sentence = "the key is none that this service knows. Ask whoever runs it for one."
        return KeyWanted(sentence, 'Bearer realm="boxwright", error="invalid_token"')
    where = f"'Authorization: Bearer KEY' or '{HEADER}: KEY'; DeepStack's clients as the form's field {FORM_FIELD!r}"
    return KeyWanted(f"this service wants a key. Send it as {where}.", 'Bearer realm="boxwright"')
