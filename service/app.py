"""The HTTP application."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware

from detector.version import installed_version
from service.auth.authenticator import ApiKeyAuthenticator
from service.auth.origins import OriginPolicy
from service.errors import InvalidApiKey
from service.inference.pipeline import InferencePipeline
from service.middleware.access_log import AccessLogMiddleware
from service.middleware.cors import cors_options
from service.middleware.errors import install_error_handlers
from service.middleware.limits import AdmissionLimits, RequestLimitsMiddleware
from service.middleware.pacing import RequestPacingMiddleware
from service.middleware.security_headers import SecurityHeadersMiddleware
from service.models.registry import Registry
from service.observability.metrics import ServiceMetrics
from service.request.images import ImagesInJson
from service.request.json_body import json_schemas
from service.routes import deepstack, detect, health, metrics, models, page
from service.routes.open_inference import routes as open_inference
from service.routes.open_inference.schemas import InferRequest
from service.routes.tensorflow_serving import routes as tensorflow_serving
from service.routes.tensorflow_serving.schemas import PredictRequest
from service.schemas.error_formats import error_format
from service.schemas.problem import Problem
from service.server.lifecycle import Lifecycle
from service.settings import Settings

DESCRIPTION = "Object detection: send an image, get boxes. Each error is a problem detail (RFC 9457) that explains what to do."

TAG_ORDER = ("detect", "models", "health", "deepstack", "open inference protocol", "tensorflow serving")
"""Order of the groups of endpoints in /docs."""
SWAGGER_UI = {"validatorUrl": None, "defaultModelsExpandDepth": 0}
"""No validator, because it is on the internet; and the list of schemas is collapsed."""


def create_app(registry: Registry, settings: Settings, *, cores: int | None = None) -> FastAPI:
    """Create the application that serves the models of `registry`.

    Args:
        registry: The loaded models.
        settings: Limits, API keys and origins.
        cores: Number of CPU cores to use. None: all that this process may use.
    """
    app = FastAPIOffline(
        title="Boxwright",
        version=installed_version(),
        description=DESCRIPTION,
        redoc_url=None,
        static_url="/docs/static",
        swagger_ui_parameters=SWAGGER_UI,
        openapi_tags=[{"name": name} for name in TAG_ORDER],
        redirect_slashes=False,  # a redirect would repeat the Host header of the client
        dependencies=[Depends(OriginPolicy(settings.host, settings.allowed_hosts, settings.cors_origins))],
    )
    app.state.registry = registry
    app.state.lifecycle = lifecycle = Lifecycle()
    app.state.authenticator = authenticator = ApiKeyAuthenticator(settings)
    app.state.metrics = service_metrics = ServiceMetrics(registry)
    app.state.inference = inference = InferencePipeline(settings, service_metrics, cores)
    app.state.limits = limits = AdmissionLimits(settings, inference.queue, service_metrics)
    _include_routers(app, authenticator, settings)
    install_error_handlers(app)
    app.add_middleware(RequestLimitsMiddleware, limits=limits)  # the innermost; the one added last is the outermost
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cors_options(settings.cors_origins))
    app.add_middleware(RequestPacingMiddleware, authenticator=authenticator)
    app.add_middleware(AccessLogMiddleware, metrics=service_metrics, lifecycle=lifecycle)
    app.add_middleware(SecurityHeadersMiddleware)
    _add_gauges(service_metrics, limits, inference)
    _complete_openapi(app)
    return app


def _include_routers(app: FastAPI, authenticator: ApiKeyAuthenticator, settings: Settings) -> None:
    """Add all endpoints. The page, its files and the status endpoints never require an API key."""
    protected = [detect.router, open_inference.router, tensorflow_serving.router, models.router, metrics.router]
    if settings.metrics_open:
        protected.remove(metrics.router)
        app.include_router(metrics.router)
    for router in (health.router, open_inference.health_router, deepstack.status_router, page.router):
        app.include_router(router)
    for router in protected:
        _include_protected(app, router, authenticator if authenticator.enabled else None)
    form_check = authenticator.allow_form_key if settings.keys_in_forms else authenticator
    _include_protected(app, deepstack.router, form_check if authenticator.enabled else None)
    app.mount("/web", page.page_files)


def _include_protected(app: FastAPI, router: APIRouter, check: Any) -> None:
    if check is None:
        app.include_router(router)
    else:
        responses = error_format(router.prefix).documented(InvalidApiKey)
        app.include_router(router, dependencies=[Security(check)], responses={401: responses[401]})


def _add_gauges(metrics: ServiceMetrics, limits: AdmissionLimits, inference: InferencePipeline) -> None:
    """Add the gauges, which are read at each scrape."""
    metrics.add_gauge("boxwright_queue_length", "Images that are waiting.", lambda: inference.waiting)
    metrics.add_gauge("boxwright_queue_limit", "Maximum number of waiting images.", lambda: limits.settings.queue_size)
    metrics.add_gauge("boxwright_photos_in_flight", "Images that are being processed.", lambda: inference.running)
    metrics.add_gauge(
        "boxwright_service_seconds",
        "Estimated seconds between two finished images while the service is busy.",
        lambda: inference.queue.service_time.seconds,
    )
    metrics.add_gauge(
        "boxwright_body_bytes",
        "Bytes of request bodies and annotated images in memory that count towards max_waiting_bytes.",
        lambda: limits.body_bytes,
    )


def _complete_openapi(app: FastAPI) -> None:
    """Add the schemas that FastAPI cannot find: those of problems, and of JSON bodies that endpoints parse themselves."""
    _serve_encoded_openapi(app)  # first, because FastAPI creates the document again if a route is added
    schemas = app.openapi().setdefault("components", {}).setdefault("schemas", {})
    _, problem = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = problem["$defs"]
    schemas.update(definitions | json_schemas([ImagesInJson, InferRequest, PredictRequest]))


def _serve_encoded_openapi(app: FastAPI) -> None:
    """Encode the OpenAPI document once. FastAPI would encode it for each request, which takes the event loop 3 ms."""
    document = b""

    async def openapi(_: Request) -> Response:
        nonlocal document
        document = document or bytes(JSONResponse(app.openapi()).body)
        return Response(document, media_type="application/json")

    path = str(app.openapi_url)
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) != path]
    app.add_route(path, openapi, include_in_schema=False)
