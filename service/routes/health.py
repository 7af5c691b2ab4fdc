"""Whether the service is there, as Kubernetes asks."""

from fastapi import APIRouter

from service.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> Health:
    """Answers as long as the process can answer anything."""
    return Health(status="alive")


@router.get("/readyz", summary="Can it detect?")
async def readyz() -> Health:
    """Models are loaded and warmed up before the service listens, so whoever gets an answer can go on."""
    return Health(status="ready")
