"""The application: models in, HTTP out."""

from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic.json_schema import models_json_schema

from service.auth.authenticator import Door
from service.inference.pipeline import InferencePipeline
from service.middleware.access_log import Observe
from service.middleware.admission import Room
from service.middleware.cors import OtherOrigins
from service.middleware.dialects import SpeakDialect
from service.middleware.head import HeadAsGet
from service.middleware.limits import Intake
from service.middleware.security_headers import SecurityHeaders
from service.models.registry import Registry
from service.observability.metrics import ServiceMetrics
from service.request.images import PhotosInJson
from service.request.json_body import json_schemas
from service.routes import deepstack, detect, health, metrics, models, page
from service.routes.open_inference import routes as open_inference
from service.routes.open_inference.schemas import InferRequest
from service.routes.openapi import declare_keys
from service.routes.tensorflow_serving import routes as tensorflow_serving
from service.routes.tensorflow_serving.schemas import PredictRequest
from service.schemas import problem as problems
from service.schemas.detections import Problem
from service.server.lifecycle import Lifecycle
from service.settings import Settings
from service.version import installed_version

DESCRIPTION = "Object detection: a photo in, boxes out. Every refusal is a problem detail (RFC 9457) with a sentence that says what to do."


def create_app(registry: Registry, settings: Settings, *, cores: int | None = None) -> FastAPI:
    """The service for the models of `registry`, which are loaded already. /docs works without internet. cores: as in `InferencePipeline`."""
    app = FastAPIOffline(
        title="Boxwright",
        version=installed_version(),
        description=DESCRIPTION,
        redoc_url=None,
        static_url="/docs/static",
        swagger_ui_parameters={"validatorUrl": None},  # else the page asks a server on the internet
    )
    app.state.registry = registry
    app.state.lifecycle = Lifecycle()
    app.state.door = door = Door(settings)
    app.state.metrics = counted = ServiceMetrics(registry)
    app.state.inference = inference = InferencePipeline(settings, counted, cores)
    for way_in in (detect, deepstack, open_inference, tensorflow_serving, models, health, metrics, page):
        app.include_router(way_in.router)
    problems.install(app)
    room = Room(settings, inference.queue, counted)
    _watch(counted, room)
    app.add_middleware(Intake, room=room, door=door)  # the one added last is outermost
    app.add_middleware(problems.LastResort)
    app.add_middleware(SpeakDialect)
    if settings.cors_origins:
        app.add_middleware(OtherOrigins, origins=settings.cors_origins)
    app.add_middleware(Observe, metrics=counted, lifecycle=app.state.lifecycle, templates=lambda: app.openapi()["paths"])
    app.add_middleware(HeadAsGet)
    app.add_middleware(SecurityHeaders)
    _complete_document(app, door)
    return app


def _watch(metrics: ServiceMetrics, room: Room) -> None:
    """What is not counted but looked up whenever somebody asks."""
    scheduler = room.scheduler
    metrics.add_gauge("boxwright_queue_length", "Photos that wait.", lambda: scheduler.waiting)
    metrics.add_gauge("boxwright_queue_limit", "Photos that may wait.", lambda: room.settings.queue_size)
    metrics.add_gauge("boxwright_photos_in_flight", "Photos that are worked on.", lambda: scheduler.running)
    metrics.add_gauge(
        "boxwright_service_seconds", "What one photo keeps the service from the next.", lambda: scheduler.service_time.seconds
    )
    metrics.add_gauge("boxwright_body_bytes", "Bytes of bodies that are in memory.", lambda: room.body_bytes)


def _complete_document(app: FastAPI, door: Door) -> None:
    """Add to the OpenAPI document what FastAPI cannot know: keys, the schema of a problem, and of the JSON that routes read themselves."""
    declare_keys(app.openapi(), door)
    schemas = app.openapi().setdefault("components", {}).setdefault("schemas", {})
    _, problem = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = problem["$defs"]
    schemas.update(definitions | json_schemas([PhotosInJson, InferRequest, PredictRequest]))
