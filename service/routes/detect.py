"""POST /detect: objects in one image or several."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from detector.errors import ImageError, UnknownLabel, UnknownModel
from detector.imaging.encode import MediaType
from service.errors import IMAGE_ERRORS, BadForm, BadJson, NoModel, ResponseTooLarge, UnsupportedMediaType
from service.inference.pipeline import detect_each
from service.inference.types import InferenceOptions, InferenceResult
from service.models.loaded_model import LoadedModel
from service.request.accept import preferred_media_type
from service.request.base64_image import EXAMPLE_IMAGE
from service.request.images import IMAGE_FIELD, MAX_REQUEST_IMAGES, read_images
from service.routes.dependencies import InferenceDep, RegistryDep, admit_images, reject_repeated_params
from service.schemas.detections import (
    EXAMPLE_FAILURE,
    EXAMPLE_RESPONSE,
    AnnotatedImage,
    BatchDetectResponse,
    Detection,
    DetectResponse,
    FailedImage,
    ImageSize,
    Timing,
)
from service.schemas.error_formats import NATIVE, Responses
from service.schemas.parameters import DetectionParameters
from service.schemas.problem_kinds import problem_of

router = APIRouter(tags=["detect"])

ResultT = TypeVar("ResultT")

SCALE_HEADER = "X-Image-Scale"  # Size of the annotated image relative to the original image, if it was drawn at reduced size.
MEDIA_TYPES: tuple[MediaType, ...] = ("image/jpeg", "image/png")
BODY_FORMAT_ERRORS = (BadForm, BadJson, UnsupportedMediaType)
ERRORS = (*IMAGE_ERRORS, ResponseTooLarge, *BODY_FORMAT_ERRORS, NoModel, UnknownModel, UnknownLabel, RequestValidationError)


class DetectQuery(DetectionParameters):
    """Query parameters of POST /detect."""

    model: str | None = Field(default=None, description="Name of the model, see GET /models. Default: the default model.")
    classes: list[str] = Field(default=[], description="Keep only these labels. Repeat the parameter for several. Default: all.")
    format: Literal["json", "image", "both"] = Field(
        default="json", description="Return the boxes, the image with the boxes drawn on it (one image only), or both in JSON."
    )


_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILES = {"type": "array", "minItems": 1, "maxItems": MAX_REQUEST_IMAGES, "items": _BYTES["schema"]}
_FORM = {"schema": {"type": "object", "required": [IMAGE_FIELD], "properties": {IMAGE_FIELD: _FILES}, "additionalProperties": False}}
_JSON = {
    "schema": {"$ref": "#/components/schemas/ImagesInJson"},
    "examples": {"one image": {"value": {"image": EXAMPLE_IMAGE}}, "several": {"value": {"images": [EXAMPLE_IMAGE, EXAMPLE_IMAGE]}}},
}
_REQUEST_BODY: dict[str, Any] = {
    "description": "JPEG, PNG, GIF (first frame), WebP, BMP or TIFF. "
    "A body of any other content type, except JSON and multipart, is read as an image too.",
    "required": True,
    "content": {"image/*": _BYTES, "application/octet-stream": _BYTES, "multipart/form-data": _FORM, "application/json": _JSON},
}
_JSON_EXAMPLES = {"one image": {"value": EXAMPLE_RESPONSE}, "several": {"value": {"results": [EXAMPLE_RESPONSE, EXAMPLE_FAILURE]}}}
_RESPONSES: Responses = {
    200: {
        "description": "The detected objects",
        "content": {"application/json": {"examples": _JSON_EXAMPLES}, "image/jpeg": _BYTES, "image/png": _BYTES},
    }
}


@router.post(
    "/detect",
    summary="Detect objects in an image",
    response_model=DetectResponse | BatchDetectResponse,
    responses=_RESPONSES | NATIVE.documented(*ERRORS),
    openapi_extra={"requestBody": _REQUEST_BODY},
    dependencies=[admit_images, reject_repeated_params(repeatable=("classes",))],
)
async def detect(request: Request, query: Annotated[DetectQuery, Query()], registry: RegistryDep, inference: InferenceDep) -> Response:
    """Boxes are in pixels of the upright image, best score first. format=image returns a JPEG, or a PNG if the Accept header prefers it.

    The results of several images are in order. For an image that cannot be used, a problem replaces the result.
    """
    model = registry.get(query.model)
    options = _options(query, model, ", ".join(request.headers.getlist("accept")))
    images = await read_images(request)
    if images.is_batch:
        _check_batch_format(query)
        return await _respond(query, _batch_response, await detect_each(inference, images.files, model, options), model)
    result = await inference.detect(images.files[0], model, options)
    if query.format == "image" and result.annotated:
        headers = {} if result.annotated_scale == 1.0 else {SCALE_HEADER: f"{result.annotated_scale:.6f}"}
        return Response(result.annotated.data, media_type=result.annotated.media_type, headers=headers)
    return await _respond(query, _response, result, model)


async def _respond(query: DetectQuery, build: Callable[[ResultT, LoadedModel], BaseModel], result: ResultT, model: LoadedModel) -> Response:
    """Serialise directly: FastAPI would validate the response a second time. Annotated images are large and need a thread."""

    def serialise() -> Response:
        return Response(build(result, model).model_dump_json(exclude_none=True), media_type="application/json")

    return serialise() if query.format == "json" else await asyncio.to_thread(serialise)


def _options(query: DetectQuery, model: LoadedModel, accept: str) -> InferenceOptions:
    return replace(
        query.options(model),
        class_ids=model.detector.class_ids(query.classes) if query.classes else None,
        draw=None if query.format == "json" else preferred_media_type(accept, MEDIA_TYPES),
    )


def _check_batch_format(query: DetectQuery) -> None:
    if query.format == "image":
        message = "'image' is only for one image, not for a list of images; use format=both"
        raise RequestValidationError([{"type": "batch", "loc": ("query", "format"), "msg": message}])


def _batch_response(results: Sequence[InferenceResult | ImageError], model: LoadedModel) -> BatchDetectResponse:
    responses = [FailedImage(problem=problem_of(each)) if isinstance(each, ImageError) else _response(each, model) for each in results]
    return BatchDetectResponse(results=responses)


def _response(result: InferenceResult, model: LoadedModel) -> DetectResponse:
    annotated = result.annotated
    return DetectResponse(
        model=model.name,
        version=model.version,
        image=ImageSize(width=result.width, height=result.height),
        detections=Detection.from_detections(result.detections, model.detector.spec.labels),
        timing_ms=Timing(**result.timing_ms),
        annotated=AnnotatedImage.from_file(annotated.media_type, annotated.data, result.annotated_scale) if annotated else None,
    )
