"""The REST interface of TensorFlow Serving."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException

from detector.errors import UnknownModel
from service.errors import IMAGE_ERRORS, BadJson, UnsupportedMediaType
from service.inference.pipeline import detect_all
from service.inference.types import DetectionTensors
from service.models.loaded_model import FIRST_VERSION
from service.request.base64_image import EXAMPLE_IMAGE
from service.request.images import check_content_coding
from service.request.json_body import parse_json, run_in_json_thread
from service.routes.dependencies import InferenceDep, ModelDep, RegistryDep, admit_images, reject_repeated_params
from service.routes.tensorflow_serving.schemas import INPUT_NAME, SIGNATURE, SIGNATURE_OUTPUTS, PredictRequest, output_columns, tensor_info
from service.routes.versions import path_parameters, require_statuses
from service.schemas.error_formats import TENSORFLOW_SERVING, Responses
from service.schemas.parameters import DetectionParameters


class _MethodConvertor(StringConvertor):
    """A path parameter without colons. With them, matching a path of 15,000 colons would take time quadratic in its length."""

    regex = "[^/:]+"


register_url_convertor("method", _MethodConvertor())
router = APIRouter(tags=["tensorflow serving"], prefix=TENSORFLOW_SERVING.prefix)

_MODEL, _VERSION = path_parameters(version=False), path_parameters(version=True)
_SIGNATURE = {
    "inputs": {INPUT_NAME: tensor_info(INPUT_NAME, "DT_STRING", [-1])},
    "outputs": {name: tensor_info(name, datatype, shape) for name, (datatype, shape) in SIGNATURE_OUTPUTS.items()},
    "method_name": "tensorflow/serving/predict",
}


def _metadata(name: str, version: str) -> dict[str, Any]:
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: _SIGNATURE}}},
    }


def _responses(example: dict[str, Any]) -> Responses:
    content = {"application/json": {"example": example}}
    return TENSORFLOW_SERVING.documented(UnknownModel) | {200: {"description": "", "content": content}}


_STATUS_RESPONSES = _responses(
    {"model_version_status": [{"version": FIRST_VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]}
)
_METADATA_RESPONSES = _responses(_metadata("everyday", FIRST_VERSION))
_REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "Images in base64. The response to `instances` has `predictions`. The response to `inputs` has `outputs`.",
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/PredictRequest"},
                "examples": {
                    "rows": {"value": {"instances": [{"b64": EXAMPLE_IMAGE}]}},
                    "rows by name": {"value": {"instances": [{INPUT_NAME: {"b64": EXAMPLE_IMAGE}}]}},
                    "columns": {"value": {"inputs": {INPUT_NAME: [{"b64": EXAMPLE_IMAGE}]}}},
                },
            }
        },
    }
}
_EXAMPLE_ROW = {
    "num_detections": 1.0,
    "detection_boxes": [[0.3792, 0.1708, 0.9356, 0.4035]],
    "detection_scores": [0.8712],
    "detection_classes": [12.0],
    "detection_class_entities": ["dog"],
}
_PREDICT_RESPONSES: Responses = TENSORFLOW_SERVING.documented(
    *IMAGE_ERRORS, BadJson, UnsupportedMediaType, UnknownModel, RequestValidationError
) | {
    200: {
        "description": "Boxes are ymin, xmin, ymax, xmax, 0 to 1, padded with zeros to the largest number of boxes per image",
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"predictions": [_EXAMPLE_ROW]}}},
    }
}
_PREDICT_CHECKS = [admit_images, reject_repeated_params()]


@router.post(
    "/{model}:predict", summary="Detect", responses=_PREDICT_RESPONSES, openapi_extra=_MODEL | _REQUEST_BODY, dependencies=_PREDICT_CHECKS
)
@router.post(
    "/{model}/versions/{version}:predict",
    summary="Detect, by version",
    responses=_PREDICT_RESPONSES,
    openapi_extra=_VERSION | _REQUEST_BODY,
    dependencies=_PREDICT_CHECKS,
)
async def predict(
    request: Request, model: ModelDep, query: Annotated[DetectionParameters, Query()], inference: InferenceDep
) -> dict[str, Any]:
    """Outputs have the names of TensorFlow's detection models. detection_class_entities are the labels."""
    check_content_coding(request)
    parsed = await run_in_json_thread(parse_json, await request.body(), PredictRequest)
    results = await detect_all(inference, parsed.images, model, query.options(model))
    outputs = output_columns(DetectionTensors.from_results(results, model.detector.spec.labels))
    if parsed.instances is None:
        return {"outputs": outputs}
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]}


@router.post("/{model}:{method:method}", include_in_schema=False)
@router.post("/{model}/versions/{version}:{method:method}", include_in_schema=False)
async def other_method(method: str) -> None:
    """Refuse classify, regress and unknown methods with the status that TensorFlow Serving uses."""
    raise HTTPException(400, f"The method {method[:40]!r} is not supported. A detector has only :predict.")


@router.get("/{model}:predict", include_in_schema=False)
@router.get("/{model}/versions/{version}:predict", include_in_schema=False)
async def get_predict() -> None:
    """Refuse GET. Otherwise the path would match the endpoint for the state of a model named "NAME:predict"."""
    raise HTTPException(405, headers={"Allow": "POST"})


@router.get("/{model}", summary="State of a model's versions", responses=_STATUS_RESPONSES, openapi_extra=_MODEL)
@router.get("/{model}/versions/{version}", summary="State of one version", responses=_STATUS_RESPONSES, openapi_extra=_VERSION)
async def status(request: Request, registry: RegistryDep) -> dict[str, Any]:
    """AVAILABLE: loaded. LOADING: being loaded. END: rejected, and the message has the reason."""
    path = request.path_params
    return {
        "model_version_status": [
            {"version": each.version, "state": each.state, "status": {"error_code": each.code, "error_message": each.message}}
            for each in require_statuses(registry, path["model"], path.get("version"))
        ]
    }


@router.get("/{model}/metadata", summary="Signature of a model", responses=_METADATA_RESPONSES, openapi_extra=_MODEL)
@router.get(
    "/{model}/versions/{version}/metadata", summary="Signature of one version", responses=_METADATA_RESPONSES, openapi_extra=_VERSION
)
async def metadata(model: ModelDep) -> dict[str, Any]:
    """The only signature, serving_default."""
    return _metadata(model.name, model.version)
