"""What every endpoint may ask of its application."""

from typing import Annotated

from fastapi import Depends, Request

from service.auth.authenticator import Door
from service.inference.pipeline import InferencePipeline
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.observability.metrics import ServiceMetrics
from service.server.lifecycle import Lifecycle


async def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


async def _inference(request: Request) -> InferencePipeline:
    inference: InferencePipeline = request.app.state.inference
    return inference


async def _metrics(request: Request) -> ServiceMetrics:
    metrics: ServiceMetrics = request.app.state.metrics
    return metrics


async def _lifecycle(request: Request) -> Lifecycle:
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


TheRegistry = Annotated[Registry, Depends(_registry)]
TheInference = Annotated[InferencePipeline, Depends(_inference)]
TheMetrics = Annotated[ServiceMetrics, Depends(_metrics)]
TheLifecycle = Annotated[Lifecycle, Depends(_lifecycle)]
TheDoor = Annotated[Door, Depends(_door)]


async def model_of_path(request: Request, registry: TheRegistry) -> LoadedModel:
    """The model whose name, and version if there is one, are in the path. Raises UnknownModel."""
    return registry.get(request.path_params["model"], request.path_params.get("version"))


TheModel = Annotated[LoadedModel, Depends(model_of_path)]
