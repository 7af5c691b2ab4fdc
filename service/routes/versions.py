"""Models by name and version, as the protocols that have versions ask for them and tell of them."""

from typing import Any, Literal, NamedTuple

from service.models.loaded_model import FIRST_VERSION
from service.models.registry import Registry

Code = Literal["OK", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"]
State = Literal["AVAILABLE", "LOADING", "END"]
"""TensorFlow Serving's words; a version whose loading failed has ended there."""


class Status(NamedTuple):
    """How one version of a model is."""

    version: str
    state: State
    code: Code = "OK"
    why: str = ""  # it is refused


def known_statuses(registry: Registry, name: str) -> list[Status]:
    """Of all versions of that model that are loaded, under way or refused, the newest first."""
    known = {model.version: Status(model.version, "AVAILABLE") for model in registry.versions(name)}
    for refused in registry.rejected_versions(name):
        if refused.version is not None:
            code: Code = "RESOURCE_EXHAUSTED" if refused.out_of_memory else "INVALID_ARGUMENT"
            known.setdefault(refused.version, Status(refused.version, "END", code, refused.why))
    if registry.loading is not None and registry.loading[0] == name:
        known.setdefault(registry.loading[1], Status(registry.loading[1], "LOADING"))
    return sorted(known.values(), key=lambda status: -int(status.version))


def statuses(registry: Registry, name: str, version: str | None = None) -> list[Status]:
    """The same, or of one of them. Raises UnknownModel where there is none."""
    found = [status for status in known_statuses(registry, name) if version in (None, status.version)]
    return found or [Status(registry.get(name, version).version, "AVAILABLE")]  # raises it, with what there is


MODEL_IN_PATH: dict[str, Any] = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "everyday"}
VERSION_IN_PATH: dict[str, Any] = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "example": FIRST_VERSION,
}
