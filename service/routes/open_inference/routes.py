"""The Open Inference Protocol, version 2 (KServe, Triton): https://github.com/kserve/open-inference-protocol."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from detector.errors import UnknownModel
from detector.version import installed_version
from service.errors import IMAGE_ERRORS, BadJson, InvalidApiKey, NoModel, ShuttingDown, UnsupportedMediaType
from service.inference.pipeline import detect_all
from service.inference.types import DetectionTensors
from service.models.loaded_model import FIRST_VERSION, LoadedModel
from service.request.context import JSON_LENGTH_HEADER
from service.request.images import check_content_coding
from service.request.json_body import run_in_json_thread
from service.routes.dependencies import AuthenticatorDep, InferenceDep, LifecycleDep, ModelDep, RegistryDep, admit_images
from service.routes.open_inference.inputs import parse_infer
from service.routes.open_inference.outputs import write_infer
from service.routes.open_inference.schemas import (
    FILES_INPUT,
    OUTPUT_TENSORS,
    PIXELS_INPUT,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from service.routes.versions import path_parameters
from service.schemas.error_formats import OPEN_INFERENCE, Responses

TAGS = ["open inference protocol"]
router = APIRouter(tags=list(TAGS), prefix=OPEN_INFERENCE.prefix)
health_router = APIRouter(tags=list(TAGS), prefix=OPEN_INFERENCE.prefix)  # The endpoints that need no API key.

_MODEL, _VERSION = path_parameters(version=False), path_parameters(version=True)
_UNKNOWN_MODEL = OPEN_INFERENCE.documented(UnknownModel)
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY: dict[str, Any] = {
    "description": f"JSON, then the tensors that have binary_data_size. If there are any, {JSON_LENGTH_HEADER} is the length of the JSON.",
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}}, "application/octet-stream": _BYTES},
}
_JSON_LENGTH_PARAMETER: dict[str, Any] = {
    "name": JSON_LENGTH_HEADER,
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of JSON at the start of the body, if tensors follow. 0: the body is one image file.",
}
_EXAMPLE = {
    "model_name": "everyday",
    "model_version": FIRST_VERSION,
    "id": "42",
    "outputs": [
        {"name": "boxes", "datatype": "FP32", "shape": [1, 1, 4], "data": [131.2, 218.43, 309.87, 538.9]},
        {"name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [0.8712]},
        {"name": "labels", "datatype": "BYTES", "shape": [1, 1], "data": ["dog"]},
    ],
}
_INFER_RESPONSES: Responses = OPEN_INFERENCE.documented(*IMAGE_ERRORS, BadJson, UnsupportedMediaType, UnknownModel) | {
    200: {
        "description": "The outputs. Boxes are xmin, ymin, xmax, ymax in pixels, padded to the largest number of boxes per image",
        "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}, "application/octet-stream": _BYTES},
    }
}


def _infer_extra(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": _REQUEST_BODY, "parameters": [*parameters["parameters"], _JSON_LENGTH_PARAMETER]}


@router.get("", summary="Describe the server")
async def server() -> ServerMetadata:
    """Name, version and extensions of the server."""
    return ServerMetadata(name="boxwright", version=installed_version(), extensions=["binary_tensor_data"])


@health_router.get("/health/live", summary="Is the process alive? (Open Inference Protocol)")
async def live() -> ServerLive:
    """Succeeds while the process can handle requests."""
    return ServerLive(live=True)


@health_router.get(
    "/health/ready", summary="Is the service ready? (Open Inference Protocol)", responses=OPEN_INFERENCE.documented(ShuttingDown, NoModel)
)
async def ready(lifecycle: LifecycleDep, registry: RegistryDep) -> ServerReady:
    """Ready once the default model is loaded and warmed up, and until SIGTERM."""
    lifecycle.check()
    _ = registry.default
    return ServerReady(ready=True)


@router.get("/models/{model}", summary="Describe a model's tensors", responses=_UNKNOWN_MODEL, openapi_extra=_MODEL)
@router.get(
    "/models/{model}/versions/{version}", summary="Describe the tensors of one version", responses=_UNKNOWN_MODEL, openapi_extra=_VERSION
)
async def model_metadata(model: ModelDep, registry: RegistryDep) -> ModelMetadata:
    """A request has one of the two inputs."""
    return ModelMetadata(
        name=model.name,
        versions=[version.version for version in reversed(registry.versions(model.name))],
        platform=model.engine,
        inputs=[
            TensorMetadata(name=FILES_INPUT, datatype="BYTES", shape=[-1]),
            TensorMetadata(name=PIXELS_INPUT, datatype="UINT8", shape=[-1, -1, -1, 3]),
        ],
        outputs=[TensorMetadata(name=name, datatype=datatype, shape=shape) for name, (datatype, shape) in OUTPUT_TENSORS.items()],
    )


async def _ready_model(request: Request, registry: RegistryDep, authenticator: AuthenticatorDep) -> LoadedModel:
    """Return the model that the path names. Without an API key, an error does not reveal names, versions and rejections."""
    try:
        return registry.get(request.path_params["model"], request.path_params.get("version"))
    except UnknownModel:
        try:
            await authenticator.check_request(request)
        except InvalidApiKey:
            raise UnknownModel("No such model is ready.") from None
        raise


@health_router.get("/models/{model}/ready", summary="Is a model ready?", responses=_UNKNOWN_MODEL, openapi_extra=_MODEL)
@health_router.get(
    "/models/{model}/versions/{version}/ready", summary="Is one version ready?", responses=_UNKNOWN_MODEL, openapi_extra=_VERSION
)
async def model_ready(model: Annotated[LoadedModel, Depends(_ready_model)]) -> ModelReady:
    """A loaded version is ready."""
    return ModelReady(name=model.name, ready=True)


@router.post(
    "/models/{model}/infer", summary="Detect", responses=_INFER_RESPONSES, openapi_extra=_infer_extra(_MODEL), dependencies=[admit_images]
)
@router.post(
    "/models/{model}/versions/{version}/infer",
    summary="Detect, by version",
    responses=_INFER_RESPONSES,
    openapi_extra=_infer_extra(_VERSION),
    dependencies=[admit_images],
)
async def infer(request: Request, model: ModelDep, inference: InferenceDep) -> Response:
    """Image files as BYTES or pixels as UINT8. The parameters are confidence, iou and max_detections."""
    check_content_coding(request)
    max_pixels = request.app.state.limits.settings.max_pixels
    body, json_length = await request.body(), request.headers.get(JSON_LENGTH_HEADER)
    parsed, images = await run_in_json_thread(parse_infer, body, json_length, max_pixels)
    results = await detect_all(inference, images, model, parsed.parameters.options(model))
    tensors = DetectionTensors.from_results(results, model.detector.spec.labels)
    response, written_length = write_infer(tensors, parsed, {"model_name": model.name, "model_version": model.version})
    if written_length is None:
        return Response(response, media_type="application/json")
    return Response(response, media_type="application/octet-stream", headers={JSON_LENGTH_HEADER: str(written_length)})
