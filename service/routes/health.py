"""Health checks, as Kubernetes uses them."""

from fastapi import APIRouter

from service.errors import NoModel, ShuttingDown
from service.routes.dependencies import LifecycleDep, RegistryDep
from service.schemas.error_formats import NATIVE
from service.schemas.models import Health

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> Health:
    """Succeeds while the process can handle requests."""
    return Health(status="alive")


@router.get("/readyz", summary="Is the service ready to detect?", responses=NATIVE.documented(ShuttingDown, NoModel))
async def readyz(lifecycle: LifecycleDep, registry: RegistryDep) -> Health:
    """Ready once the default model is loaded and warmed up, and until SIGTERM."""
    lifecycle.check()
    _ = registry.default
    return Health(status="ready")
