"""The application: models in, HTTP out."""

from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic.json_schema import models_json_schema

from service import problems
from service.dialects import SpeakDialect
from service.door import Door
from service.head import HeadAsGet
from service.inference import Inference
from service.intake import Intake
from service.json_body import json_schemas
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.observe import Observe
from service.open_inference.schemas import InferRequest
from service.openapi_keys import declare_keys
from service.origins import OtherOrigins
from service.photo import PhotosInJson
from service.registry import Registry
from service.room import Room
from service.routes import deepstack, detect, health, metrics, models, open_inference, page, tensorflow_serving
from service.schemas import Problem
from service.security_headers import SecurityHeaders
from service.serving_schemas import PredictRequest
from service.settings import Settings
from service.version import installed_version

DESCRIPTION = "Object detection: a photo in, boxes out. Every refusal is a problem detail (RFC 9457) with a sentence that says what to do."


def create_app(registry: Registry, settings: Settings, *, cores: int | None = None) -> FastAPI:
    """The service for the models of `registry`, which are loaded already. /docs works without internet. cores: as in `Inference`."""
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
    app.state.metrics = counted = Metrics(registry)
    app.state.inference = inference = Inference(settings, counted, cores)
    for way_in in (detect, deepstack, open_inference, tensorflow_serving, models, health, metrics, page):
        app.include_router(way_in.router)
    problems.install(app)
    room = Room(settings, inference.scheduler, counted)
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


def _watch(metrics: Metrics, room: Room) -> None:
    """What is not counted but looked up whenever somebody asks."""
    scheduler = room.scheduler
    metrics.watch("boxwright_queue_length", "Photos that wait.", lambda: scheduler.waiting)
    metrics.watch("boxwright_queue_limit", "Photos that may wait.", lambda: room.settings.queue_size)
    metrics.watch("boxwright_photos_in_flight", "Photos that are worked on.", lambda: scheduler.working)
    metrics.watch("boxwright_service_seconds", "What one photo keeps the service from the next.", lambda: scheduler.service_time.seconds)
    metrics.watch("boxwright_body_bytes", "Bytes of bodies that are in memory.", lambda: room.body_bytes)


def _complete_document(app: FastAPI, door: Door) -> None:
    """Add to the OpenAPI document what FastAPI cannot know: keys, the schema of a problem, and of the JSON that routes read themselves."""
    declare_keys(app.openapi(), door)
    schemas = app.openapi().setdefault("components", {}).setdefault("schemas", {})
    _, problem = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = problem["$defs"]
    schemas.update(definitions | json_schemas([PhotosInJson, InferRequest, PredictRequest]))
