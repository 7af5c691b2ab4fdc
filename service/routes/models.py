"""GET /models: what is being served."""

from fastapi import APIRouter

from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.routes.dependencies import TheRegistry
from service.routes.versions import known_statuses
from service.schemas.detections import ModelAnswer, ModelList, RefusedModel, VersionAnswer
from weights.formats.safetensors import recorded_ap

router = APIRouter(tags=["models"])


@router.get("/models", summary="The models that are being served")
async def models(registry: TheRegistry) -> ModelList:
    """Each model's labels, size, versions and origin, the default first; and what lies in the folder of models and is refused, with why."""
    return ModelList(
        models=[_describe(model, registry) for model in registry],
        refused=[
            RefusedModel(name=refused.name, version=refused.version, why=refused.why, since=refused.since) for refused in registry.rejected
        ],
    )


def _describe(model: LoadedModel, registry: Registry) -> ModelAnswer:
    return ModelAnswer(
        name=model.name,
        version=model.version,
        labels=list(model.detector.spec.labels),
        input_size=model.detector.spec.input_size,
        parameters=model.parameters,
        engine=model.engine,
        default=model.name == registry.default_name,
        ap=recorded_ap(model.provenance),
        memory_bytes=model.memory,
        file=model.file,
        versions=[VersionAnswer(version=each.version, state=each.state) for each in known_statuses(registry, model.name)],
        provenance=model.provenance,
    )
