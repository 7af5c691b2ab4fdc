"""POST /detect: a photo in, boxes out."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from detector.detector import DEFAULT_IOU, DEFAULT_SCORE
from detector.errors import DamagedImage, EmptyImage, ImageTooLarge, NotAnImage, UnknownLabel, UnknownModel
from service.accept import preferred
from service.annotated import MediaType
from service.errors import BadForm, BodyTooLarge, UnsupportedBody
from service.inference import MAX_DETECTIONS, Answer, Options
from service.photo import FIELD, read_photo
from service.problems import documented
from service.registry import LoadedModel
from service.schemas import Annotated as AnnotatedAnswer
from service.schemas import DetectAnswer, Detection, ImageSize, Timing
from service.state import TheInference, TheRegistry

router = APIRouter(tags=["detect"])

OFFERED: tuple[MediaType, ...] = ("image/jpeg", "image/png")

PHOTO_REFUSALS = (EmptyImage, BodyTooLarge, ImageTooLarge, NotAnImage, DamagedImage)
REQUEST_REFUSALS = (BadForm, UnsupportedBody, UnknownModel, UnknownLabel, RequestValidationError)


class DetectQuery(BaseModel):
    """The options of a detection."""

    model_config = ConfigDict(extra="forbid")  # a misspelt option would otherwise have no effect and say nothing

    model: str | None = Field(default=None, description="Which model; see GET /models. The default one if not given.")
    confidence: float = Field(default=DEFAULT_SCORE, ge=0, le=1, description="Leave out boxes that score no more than this.")
    iou: float = Field(
        default=DEFAULT_IOU, ge=0, le=1, description="Of two boxes of one class that overlap more than this the better one stays."
    )
    classes: list[str] = Field(default=[], description="Only these labels; repeat the parameter for several. All if not given.")
    max_detections: int = Field(default=MAX_DETECTIONS, ge=1, le=1000, description="At most so many boxes, the best.")
    format: Literal["json", "image", "both"] = Field(
        default="json", description="The boxes, the photo with the boxes drawn on it, or both in JSON."
    )


_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _BYTES["schema"]}}}
_BODY: dict[str, Any] = {
    "description": "One photo: JPEG, PNG, GIF (its first frame), WebP, BMP or TIFF. Other content types but JSON are read as a photo too.",
    "required": True,
    "content": {"image/*": _BYTES, "application/octet-stream": _BYTES, "multipart/form-data": _FORM},
}
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {"description": "What is in the photo", "content": {"image/jpeg": _BYTES, "image/png": _BYTES}},
}


@router.post(
    "/detect",
    summary="What is in this photo?",
    response_model=DetectAnswer,
    response_model_exclude_none=True,
    responses=_FOUND | documented(*PHOTO_REFUSALS, *REQUEST_REFUSALS),
    openapi_extra={"requestBody": _BODY},
)
async def detect(request: Request, query: Annotated[DetectQuery, Query()], registry: TheRegistry, inference: TheInference) -> Any:
    """Boxes in pixels of the upright photo, best score first. format=image answers a JPEG, or a PNG if the Accept header prefers it."""
    model = registry.get(query.model)
    options = _options(query, model, ", ".join(request.headers.getlist("accept")))
    answer = await inference.detect(await read_photo(request), model, options)
    if query.format == "image" and answer.annotated:
        return Response(answer.annotated.data, media_type=answer.annotated.media_type)
    return _json(answer, model)


def _options(query: DetectQuery, model: LoadedModel, accept: str) -> Options:
    return Options(
        score_threshold=query.confidence,
        iou_threshold=query.iou,
        class_ids=model.detector.class_ids(query.classes) if query.classes else None,
        max_detections=query.max_detections,
        draw=None if query.format == "json" else preferred(accept, OFFERED),
    )


def _json(answer: Answer, model: LoadedModel) -> DetectAnswer:
    return DetectAnswer(
        model=model.name,
        image=ImageSize(width=answer.width, height=answer.height),
        detections=Detection.listed(answer.detections, model.detector.spec.labels),
        timing_ms=Timing(**answer.timing_ms),
        annotated=AnnotatedAnswer.of(answer.annotated.media_type, answer.annotated.data) if answer.annotated else None,
    )
