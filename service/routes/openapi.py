"""Keys in the OpenAPI document: what is closed, which headers open it, and the refusal. Nothing where no keys are set."""

from typing import Any

from service.auth.api_keys import HEADER
from service.auth.authenticator import Door
from service.errors import KeyWanted
from service.middleware.dialects import DIALECTS
from service.schemas.problem import documented

SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "header": {"type": "apiKey", "in": "header", "name": HEADER, "description": "For clients that cannot set Authorization."},
}
CHALLENGE = {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}, "description": "RFC 6750."}}


def declare_keys(document: dict[str, Any], door: Door) -> None:
    """Add to `document`, in place, what the door asks of each operation."""
    if not door.locked:
        return
    document.setdefault("components", {})["securitySchemes"] = SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not door.is_open(method.upper(), path):
                operation["security"] = [{name: []} for name in SCHEMES]
                operation["responses"]["401"] = _refusal(path)


def _refusal(path: str) -> dict[str, Any]:
    dialect = next((dialect for dialect in DIALECTS if dialect.speaks(path)), None)
    response: dict[str, Any] = (documented if dialect is None else dialect.documented)(KeyWanted)[401]
    return response | {"headers": CHALLENGE}
