"""POST /detect: photos in, boxes out."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field

from detector.errors import ImageError, UnknownLabel, UnknownModel
from detector.imaging.encode import MediaType
from service.errors import BadForm, BadJson, NoModel, UnsupportedBody
from service.inference.pipeline import detect_each
from service.inference.types import MAX_REQUEST_IMAGES, InferenceOptions, InferenceResult
from service.models.loaded_model import LoadedModel
from service.request.accept import preferred
from service.request.base64_image import EXAMPLE
from service.request.images import FIELD, Photos, read_photos
from service.routes.dependencies import TheInference, TheRegistry
from service.routes.refusals import PHOTO_REFUSALS
from service.routes.repeated_params import once_each
from service.schemas.detections import EXAMPLE as ANSWER
from service.schemas.detections import FAILED, DetectAnswer, Detection, FailedPhoto, ImageSize, Problem, SeveralAnswer, Timing
from service.schemas.detections import Annotated as AnnotatedAnswer
from service.schemas.problem import documented, problem_response
from service.schemas.selection import Selection

router = APIRouter(tags=["detect"])

OFFERED: tuple[MediaType, ...] = ("image/jpeg", "image/png")

REQUEST_REFUSALS = (BadForm, BadJson, UnsupportedBody, NoModel, UnknownModel, UnknownLabel, RequestValidationError)


class DetectQuery(Selection):
    """The options of a detection."""

    model: str | None = Field(default=None, description="Which model; see GET /models. The default one if not given.")
    classes: list[str] = Field(default=[], description="Only these labels; repeat the parameter for several. All if not given.")
    format: Literal["json", "image", "both"] = Field(
        default="json", description="The boxes, the photo with the boxes drawn on it (of one photo only), or both in JSON."
    )


_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILES = {"type": "array", "minItems": 1, "maxItems": MAX_REQUEST_IMAGES, "items": _BYTES["schema"]}
_FORM = {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _FILES}, "additionalProperties": False}}
_JSON = {
    "schema": {"$ref": "#/components/schemas/PhotosInJson"},
    "examples": {"one photo": {"value": {"image": EXAMPLE}}, "several": {"value": {"images": [EXAMPLE, EXAMPLE]}}},
}
_BODY: dict[str, Any] = {
    "description": "JPEG, PNG, GIF (its first frame), WebP, BMP or TIFF. Other content types but JSON are read as a photo too.",
    "required": True,
    "content": {"image/*": _BYTES, "application/octet-stream": _BYTES, "multipart/form-data": _FORM, "application/json": _JSON},
}
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What is in the photo",
        "content": {
            "application/json": {"examples": {"one photo": {"value": ANSWER}, "several": {"value": {"results": [ANSWER, FAILED]}}}},
            "image/jpeg": _BYTES,
            "image/png": _BYTES,
        },
    },
}


@router.post(
    "/detect",
    summary="What is in this photo?",
    response_model=DetectAnswer | SeveralAnswer,
    responses=_FOUND | documented(*PHOTO_REFUSALS, *REQUEST_REFUSALS),
    openapi_extra={"requestBody": _BODY},
    dependencies=[once_each(but=("classes",))],
)
async def detect(request: Request, query: Annotated[DetectQuery, Query()], registry: TheRegistry, inference: TheInference) -> Response:
    """Boxes in pixels of the upright photo, best score first. format=image answers a JPEG, or a PNG if the Accept header prefers it.

    Several photos are answered in order; one that cannot be used has its problem in its place.
    """
    model = registry.get(query.model)
    options = _options(query, model, ", ".join(request.headers.getlist("accept")))
    photos = await read_photos(request)
    if photos.several:
        _check_format(query, photos)
        answers = await detect_each(inference, photos.files, model, options)
        return _answer(SeveralAnswer(results=[_entry(answer, model) for answer in answers]))
    answer = await inference.detect(photos.files[0], model, options)
    if query.format == "image" and answer.annotated:
        return Response(answer.annotated.data, media_type=answer.annotated.media_type)
    return _answer(_json(answer, model))


def _answer(answer: DetectAnswer | SeveralAnswer) -> Response:
    """As FastAPI would, which would check it once more."""
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


def _options(query: DetectQuery, model: LoadedModel, accept: str) -> InferenceOptions:
    return InferenceOptions(
        score_threshold=query.confidence,
        iou_threshold=query.iou,
        class_ids=model.detector.class_ids(query.classes) if query.classes else None,
        max_detections=query.max_detections,
        draw=None if query.format == "json" else preferred(accept, OFFERED),
    )


def _check_format(query: DetectQuery, photos: Photos) -> None:
    if query.format == "image":
        message = f"one picture cannot answer {len(photos.files)} photos sent as several; use format=both"
        raise RequestValidationError([{"type": "several", "loc": ("query", "format"), "msg": message, "input": "image"}])


def _entry(answer: InferenceResult | ImageError, model: LoadedModel) -> DetectAnswer | FailedPhoto:
    if isinstance(answer, ImageError):
        return FailedPhoto(problem=Problem.model_validate_json(bytes(problem_response(answer).body)))
    return _json(answer, model)


def _json(answer: InferenceResult, model: LoadedModel) -> DetectAnswer:
    return DetectAnswer(
        model=model.name,
        version=model.version,
        image=ImageSize(width=answer.width, height=answer.height),
        detections=Detection.listed(answer.detections, model.detector.spec.labels),
        timing_ms=Timing(**answer.timing_ms),
        annotated=AnnotatedAnswer.of(answer.annotated.media_type, answer.annotated.data) if answer.annotated else None,
    )
