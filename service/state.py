"""What every endpoint may ask of its application."""

from typing import Annotated

from fastapi import Depends, Request

from service.inference import Inference
from service.registry import Registry


async def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


async def _inference(request: Request) -> Inference:
    inference: Inference = request.app.state.inference
    return inference


TheRegistry = Annotated[Registry, Depends(_registry)]
TheInference = Annotated[Inference, Depends(_inference)]
