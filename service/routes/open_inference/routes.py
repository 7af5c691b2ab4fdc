"""The Open Inference Protocol, version 2 (KServe, Triton): https://github.com/kserve/open-inference-protocol."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from detector.errors import UnknownModel
from service.errors import BadJson, NoModel, ShuttingDown, UnsupportedBody
from service.inference.pipeline import detect_all
from service.inference.types import DetectionTensors
from service.middleware.dialects import OPEN_INFERENCE
from service.models.loaded_model import FIRST_VERSION
from service.request.images import check_coding
from service.routes.dependencies import TheInference, TheLifecycle, TheModel, TheRegistry
from service.routes.open_inference import JSON_LENGTH
from service.routes.open_inference.inputs import read_infer
from service.routes.open_inference.outputs import write_answer
from service.routes.open_inference.schemas import (
    OUTPUTS,
    PHOTOS,
    PIXELS,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from service.routes.refusals import PHOTO_REFUSALS
from service.routes.versions import MODEL_IN_PATH, VERSION_IN_PATH
from service.version import installed_version

router = APIRouter(tags=["open inference protocol"], prefix="/v2")


_LENGTH: dict[str, Any] = {
    "name": JSON_LENGTH,
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of JSON, where tensors come after it; 0: the body is one photo's file.",
}
_NEWEST = {"parameters": [MODEL_IN_PATH]}
_VERSION = {"parameters": [MODEL_IN_PATH, VERSION_IN_PATH]}
_NO_MODEL = OPEN_INFERENCE.documented(UnknownModel)
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "description": f"JSON, and after it what inputs say in binary_data_size; {JSON_LENGTH} then says where the JSON ends.",
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}}, "application/octet-stream": _BYTES},
    }
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
_INFERRED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outputs; boxes xmin, ymin, xmax, ymax in pixels, padded to the photo that has most",
        "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}, "application/octet-stream": _BYTES},
    }
}


@router.get("", summary="What the server is")
async def server() -> ServerMetadata:
    """Its name, version and extensions."""
    return ServerMetadata(name="boxwright", version=installed_version(), extensions=["binary_tensor_data"])


@router.get("/health/live", summary="Is the process alive? (Open Inference Protocol)")
async def live() -> Live:
    """Answers as long as the process can answer anything."""
    return Live(live=True)


@router.get("/health/ready", summary="Can it detect? (Open Inference Protocol)", responses=OPEN_INFERENCE.documented(ShuttingDown, NoModel))
async def ready(lifecycle: TheLifecycle, registry: TheRegistry) -> Ready:
    """The default model is loaded and warmed up; from SIGTERM on the service is not ready any more."""
    lifecycle.check()
    _ = registry.default
    return Ready(ready=True)


@router.get("/models/{model}", summary="What a model takes and gives", responses=_NO_MODEL, openapi_extra=_NEWEST)
@router.get("/models/{model}/versions/{version}", summary="The same, by version", responses=_NO_MODEL, openapi_extra=_VERSION)
async def model_metadata(model: TheModel, registry: TheRegistry) -> ModelMetadata:
    """Of the two inputs a request has one."""
    return ModelMetadata(
        name=model.name,
        versions=[version.version for version in reversed(registry.versions(model.name))],
        platform=model.engine,
        inputs=[
            TensorMetadata(name=PHOTOS, datatype="BYTES", shape=[-1]),
            TensorMetadata(name=PIXELS, datatype="UINT8", shape=[-1, -1, -1, 3]),
        ],
        outputs=[TensorMetadata(name=name, datatype=datatype, shape=shape) for name, (datatype, shape) in OUTPUTS.items()],
    )


@router.get("/models/{model}/ready", summary="Can a model detect?", responses=_NO_MODEL, openapi_extra=_NEWEST)
@router.get("/models/{model}/versions/{version}/ready", summary="The same, by version", responses=_NO_MODEL, openapi_extra=_VERSION)
async def model_ready(model: TheModel) -> ModelReady:
    """A version that is loaded is ready."""
    return ModelReady(name=model.name, ready=True)


_REFUSALS = OPEN_INFERENCE.documented(*PHOTO_REFUSALS, BadJson, UnsupportedBody, UnknownModel)


@router.post(
    "/models/{model}/infer",
    summary="Detect",
    responses=_INFERRED | _REFUSALS,
    openapi_extra=_BODY | {"parameters": [MODEL_IN_PATH, _LENGTH]},
)
@router.post(
    "/models/{model}/versions/{version}/infer",
    summary="Detect, by version",
    responses=_INFERRED | _REFUSALS,
    openapi_extra=_BODY | {"parameters": [MODEL_IN_PATH, VERSION_IN_PATH, _LENGTH]},
)
async def infer(
    request: Request,
    model: TheModel,
    inference: TheInference,
) -> Response:
    """Photos as BYTES or pixels as UINT8; parameters confidence, iou and max_detections."""
    check_coding(request)
    asked, photos = await asyncio.to_thread(read_infer, await request.body(), request.headers.get(JSON_LENGTH))
    answers = await detect_all(inference, photos, model, asked.parameters.options())
    padded = DetectionTensors.from_results(answers, model.detector.spec.labels)
    body, length = write_answer(padded, asked, {"model_name": model.name, "model_version": model.version})
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={JSON_LENGTH: str(length)})
