"""GET /models: the served models."""

from fastapi import APIRouter

from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.routes.dependencies import RegistryDep
from service.routes.versions import version_statuses
from service.schemas.models import ModelInfo, ModelList, ModelVersion, RejectedModel
from weights.formats.provenance import recorded_ap

router = APIRouter(tags=["models"])


@router.get("/models", summary="List the models")
async def models(registry: RegistryDep) -> ModelList:
    """Labels, input size, versions and origin of each model, the default first. Also lists the models that were rejected, and why."""
    return ModelList(
        models=[_describe(model, registry) for model in registry],
        refused=[
            RejectedModel(name=rejected.name, version=rejected.version, why=rejected.why, since=rejected.since)
            for rejected in registry.rejected
        ],
    )


def _describe(model: LoadedModel, registry: Registry) -> ModelInfo:
    return ModelInfo(
        name=model.name,
        version=model.version,
        labels=list(model.detector.spec.labels),
        input_size=model.detector.spec.input_size,
        parameters=model.parameters,
        engine=model.engine,
        precision=model.precision,
        default=model.name == registry.default_name,
        ap=recorded_ap(model.provenance),
        memory_bytes=model.memory,
        file=model.file,
        versions=[ModelVersion(version=each.version, state=each.state) for each in version_statuses(registry, model.name)],
        provenance=model.provenance,
    )
