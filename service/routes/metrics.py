"""GET /metrics: what the service counts, as Prometheus reads it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from service.routes.dependencies import TheMetrics

router = APIRouter(tags=["health"])

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus text, or OpenMetrics if the Accept header prefers it",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


@router.get("/metrics", summary="What is counted, for Prometheus", response_class=Response, responses=_TEXT)
async def metrics(request: Request, counted: TheMetrics) -> Response:
    """Requests, times by stage, the queue, refusals, detections, the process."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(counted.collector_registry), media_type=media_type)
