"""FastAPI dependencies that the endpoints share."""

from collections import Counter
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from service.auth.authenticator import ApiKeyAuthenticator
from service.inference.pipeline import InferencePipeline
from service.middleware.limits import AdmissionLimits
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.observability.metrics import ServiceMetrics
from service.request.context import current_context, parse_timeout
from service.server.lifecycle import Lifecycle


def _from_app(name: str) -> Any:
    """Return a dependency on an object in `app.state`."""

    async def read(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(read)


RegistryDep = Annotated[Registry, _from_app("registry")]
InferenceDep = Annotated[InferencePipeline, _from_app("inference")]
MetricsDep = Annotated[ServiceMetrics, _from_app("metrics")]
LifecycleDep = Annotated[Lifecycle, _from_app("lifecycle")]
AuthenticatorDep = Annotated[ApiKeyAuthenticator, _from_app("authenticator")]


async def _admit(request: Request) -> None:
    """Read the client's timeout and refuse the request if the queue is full, before its body is read."""
    if context := current_context():
        context.client_timeout = parse_timeout(request.headers)
    limits: AdmissionLimits = request.app.state.limits
    limits.check_queue()


admit_images = Depends(_admit)  # For endpoints that run the network.


async def _model_in_path(request: Request, registry: RegistryDep) -> LoadedModel:
    """Return the model that the path names. Raises UnknownModel."""
    return registry.get(request.path_params["model"], request.path_params.get("version"))


ModelDep = Annotated[LoadedModel, Depends(_model_in_path)]


def reject_repeated_params(*, repeatable: tuple[str, ...] = ()) -> Any:
    """Return a dependency that refuses query parameters that occur twice. FastAPI alone would silently use the last one."""

    async def check(request: Request) -> None:
        counts = Counter(name for name, _ in request.query_params.multi_items() if name not in repeatable)
        errors = [
            {"type": "repeated", "loc": ("query", name), "msg": f"may be given once, but the request has it {count} times"}
            for name, count in counts.items()
            if count > 1
        ]
        if errors:
            raise RequestValidationError(errors)

    return Depends(check)
