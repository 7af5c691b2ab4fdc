"""State of the versions of a model, for GET /models and for the protocols that have versions."""

from typing import Any, Literal, NamedTuple

from service.models.loaded_model import FIRST_VERSION
from service.models.registry import Registry

StatusCode = Literal["OK", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"]
VersionState = Literal["AVAILABLE", "LOADING", "END"]
"""Terms of TensorFlow Serving, where a version that cannot be loaded is in the state END."""


class VersionStatus(NamedTuple):
    """State of one version."""

    version: str
    state: VersionState
    code: StatusCode = "OK"
    message: str = ""  # why the version was rejected


def version_statuses(registry: Registry, name: str) -> list[VersionStatus]:
    """Return the versions of a model that are loaded, being loaded or rejected, newest first."""
    known = {model.version: VersionStatus(model.version, "AVAILABLE") for model in registry.versions(name)}
    for rejected in registry.rejected_versions(name):
        if rejected.version is not None:
            code: StatusCode = "RESOURCE_EXHAUSTED" if rejected.out_of_memory else "INVALID_ARGUMENT"
            known.setdefault(rejected.version, VersionStatus(rejected.version, "END", code, rejected.why))
    if registry.loading is not None and registry.loading[0] == name:
        known.setdefault(registry.loading[1], VersionStatus(registry.loading[1], "LOADING"))
    return sorted(known.values(), key=lambda status: -int(status.version))


def require_statuses(registry: Registry, name: str, version: str | None = None) -> list[VersionStatus]:
    """Return the status of all versions of a model, or of one of them. Raises UnknownModel."""
    statuses = [status for status in version_statuses(registry, name) if version in (None, status.version)]
    return statuses or [VersionStatus(registry.get(name, version).version, "AVAILABLE")]  # `get` raises UnknownModel


def path_parameters(*, version: bool) -> dict[str, Any]:
    """Return the OpenAPI declaration of the path parameters `model` and, optionally, `version`."""
    examples = {"model": "everyday"} | ({"version": FIRST_VERSION} if version else {})
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in examples.items()
    ]
    return {"parameters": parameters}
