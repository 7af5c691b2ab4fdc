"""GET /models: what is being served."""

from fastapi import APIRouter

from service.registry import LoadedModel, Registry
from service.schemas import ModelAnswer, ModelList
from service.state import TheRegistry

router = APIRouter(tags=["models"])


@router.get("/models", summary="The models that are being served")
async def models(registry: TheRegistry) -> ModelList:
    """Each model's labels, size and origin; the default first."""
    return ModelList(models=[_describe(model, registry) for model in registry])


def _describe(model: LoadedModel, registry: Registry) -> ModelAnswer:
    return ModelAnswer(
        name=model.name,
        labels=list(model.detector.spec.labels),
        input_size=model.detector.spec.input_size,
        parameters=model.parameters,
        engine=model.engine,
        default=model is registry.default,
        provenance=model.provenance,
    )
