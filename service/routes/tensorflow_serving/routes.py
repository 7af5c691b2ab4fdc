"""TensorFlow Serving's REST way in."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError

from detector.errors import UnknownModel
from service.errors import BadJson, UnsupportedBody
from service.inference.pipeline import detect_all
from service.inference.types import DetectionTensors
from service.middleware.dialects import TENSORFLOW_SERVING
from service.models.loaded_model import FIRST_VERSION
from service.request.base64_image import EXAMPLE
from service.request.images import check_coding
from service.request.json_body import read_json
from service.routes.dependencies import TheInference, TheModel, TheRegistry
from service.routes.refusals import PHOTO_REFUSALS
from service.routes.repeated_params import once_each
from service.routes.tensorflow_serving.schemas import INPUT, OUTPUTS, SIGNATURE, PredictRequest, columns, tensor_info
from service.routes.versions import MODEL_IN_PATH, VERSION_IN_PATH, statuses
from service.schemas.selection import Selection

router = APIRouter(tags=["tensorflow serving"], prefix="/v1/models")

_NEWEST = {"parameters": [MODEL_IN_PATH]}
_VERSION = {"parameters": [MODEL_IN_PATH, VERSION_IN_PATH]}
_NO_MODEL = TENSORFLOW_SERVING.documented(UnknownModel)
_STATE = {"version": FIRST_VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
_SIGNATURE = {
    "inputs": {INPUT: tensor_info(INPUT, "DT_STRING", [-1])},
    "outputs": {name: tensor_info(name, datatype, shape) for name, (datatype, shape) in OUTPUTS.items()},
    "method_name": "tensorflow/serving/predict",
}


def _metadata(name: str, version: str) -> dict[str, Any]:
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: _SIGNATURE}}},
    }


def _answered(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return _NO_MODEL | {200: {"description": "", "content": {"application/json": {"example": example}}}}


_STATUS = _answered({"model_version_status": [_STATE]})
_METADATA = _answered(_metadata("everyday", FIRST_VERSION))
_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "Photos in base64. The answer to instances is predictions, to inputs outputs.",
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/PredictRequest"},
                "examples": {
                    "rows": {"value": {"instances": [{"b64": EXAMPLE}]}},
                    "rows by name": {"value": {"instances": [{INPUT: {"b64": EXAMPLE}}]}},
                    "columns": {"value": {"inputs": {INPUT: [{"b64": EXAMPLE}]}}},
                },
            }
        },
    }
}
_ROW = {
    "num_detections": 1.0,
    "detection_boxes": [[0.3792, 0.1708, 0.9356, 0.4035]],
    "detection_scores": [0.8712],
    "detection_classes": [12.0],
    "detection_class_entities": ["dog"],
}
_PREDICTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Boxes ymin, xmin, ymax, xmax, 0 to 1, padded with zeros to the photo that has most",
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"predictions": [_ROW]}}},
    }
}
_REFUSALS = TENSORFLOW_SERVING.documented(*PHOTO_REFUSALS, BadJson, UnsupportedBody, UnknownModel, RequestValidationError)


@router.post(
    "/{model}:predict", summary="Detect", responses=_PREDICTED | _REFUSALS, openapi_extra=_NEWEST | _BODY, dependencies=[once_each()]
)
@router.post(
    "/{model}/versions/{version}:predict",
    summary="Detect, by version",
    responses=_PREDICTED | _REFUSALS,
    openapi_extra=_VERSION | _BODY,
    dependencies=[once_each()],
)
async def predict(request: Request, model: TheModel, query: Annotated[Selection, Query()], inference: TheInference) -> dict[str, Any]:
    """Outputs by the names of TensorFlow's detection models, and detection_class_entities, the labels."""
    check_coding(request)
    asked = await asyncio.to_thread(read_json, await request.body(), PredictRequest)
    answers = await detect_all(inference, asked.photos, model, query.options())
    outputs = columns(DetectionTensors.from_results(answers, model.detector.spec.labels))
    if asked.instances is None:
        return {"outputs": outputs}
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]}


@router.get("/{model}", summary="A model's versions and their state", responses=_STATUS, openapi_extra=_NEWEST)
@router.get("/{model}/versions/{version}", summary="The same, of one version", responses=_STATUS, openapi_extra=_VERSION)
async def status(request: Request, registry: TheRegistry) -> dict[str, Any]:
    """AVAILABLE: it answers. LOADING: it will. END: it lies in the folder of models and is refused, and the message says why."""
    path = request.path_params
    return {
        "model_version_status": [
            {"version": each.version, "state": each.state, "status": {"error_code": each.code, "error_message": each.why}}
            for each in statuses(registry, path["model"], path.get("version"))
        ]
    }


@router.get("/{model}/metadata", summary="A model's signature", responses=_METADATA, openapi_extra=_NEWEST)
@router.get("/{model}/versions/{version}/metadata", summary="The same, of one version", responses=_METADATA, openapi_extra=_VERSION)
async def metadata(model: TheModel) -> dict[str, Any]:
    """Its one signature, serving_default."""
    return _metadata(model.name, model.version)
