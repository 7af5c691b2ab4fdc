"""Models by name and version, as the protocols that have versions ask for them."""

from typing import Any

from detector.errors import UnknownModel
from service.registry import LoadedModel, Registry

VERSION = "1"
"""The version of every model; there is one of each."""


def versioned(registry: Registry, name: str, version: str | None = None) -> LoadedModel:
    """The model of that name and version, the newest for None. Raises UnknownModel."""
    model = registry.get(name)
    if version not in (None, VERSION):
        raise UnknownModel(f"model {name!r} has no version {str(version)[:80]!r} here; it has version {VERSION}.")
    return model


MODEL_IN_PATH: dict[str, Any] = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "everyday"}
VERSION_IN_PATH: dict[str, Any] = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}, "example": VERSION}
