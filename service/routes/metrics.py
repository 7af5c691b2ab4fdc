"""GET /metrics: metrics for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from service.routes.dependencies import MetricsDep
from service.schemas.error_formats import Responses

router = APIRouter(tags=["health"])

_RESPONSES: Responses = {
    200: {
        "description": "Prometheus text, or OpenMetrics if the Accept header prefers it",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses=_RESPONSES)
async def metrics(request: Request, metrics: MetricsDep) -> Response:
    """Requests, time of each stage, the queue, refusals, detections, the process."""
    try:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
    except (TypeError, ValueError):  # raised for an invalid version in the Accept header
        encode, media_type = choose_encoder("")
    return Response(encode(metrics.collector_registry), media_type=media_type)
