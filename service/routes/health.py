"""Whether the service is there, as Kubernetes asks."""

from fastapi import APIRouter

from service.errors import NoModel, ShuttingDown
from service.routes.dependencies import TheLifecycle, TheRegistry
from service.schemas.detections import Health
from service.schemas.problem import documented

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> Health:
    """Answers as long as the process can answer anything."""
    return Health(status="alive")


@router.get("/readyz", summary="Can it detect?", responses=documented(ShuttingDown, NoModel))
async def readyz(lifecycle: TheLifecycle, registry: TheRegistry) -> Health:
    """The default model is loaded and warmed up, as a rule before the service listens; from SIGTERM on it is not ready any more."""
    lifecycle.check()
    _ = registry.default
    return Health(status="ready")
