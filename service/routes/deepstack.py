"""DeepStack's way in, as Frigate, Home Assistant, Blue Iris and CodeProject.AI's clients ask."""

from collections.abc import Sequence
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from detector.detector import DEFAULT_IOU
from detector.errors import UnknownModel
from service.auth.authenticator import FORM_FIELD, Door
from service.errors import BadForm, NoModel, UnsupportedBody
from service.inference.pipeline import InferencePipeline
from service.inference.types import MAX_DETECTIONS, InferenceOptions, InferenceResult
from service.middleware.dialects import DEEPSTACK
from service.models.loaded_model import LoadedModel
from service.request.images import FIELD, check_coding
from service.request.multipart import Part, read_form
from service.routes.dependencies import TheDoor, TheInference, TheRegistry
from service.routes.refusals import BODY_REFUSALS, PHOTO_REFUSALS
from service.routes.repeated_params import once_each

router = APIRouter(tags=["deepstack"])

MIN_CONFIDENCE = 0.4
"""DeepStack's own, where the form names none; its clients count on it."""


class DeepStackQuery(BaseModel):
    """What DeepStack's form has no field for; put it into the address that the client is given."""

    model_config = ConfigDict(extra="forbid")

    iou: float = Field(default=DEFAULT_IOU, ge=0, le=1, description="Of two boxes of one class that overlap more than this one stays.")
    max_detections: int = Field(default=MAX_DETECTIONS, ge=1, le=1000, description="At most so many boxes. Frigate has room for 20.")


class Prediction(BaseModel):
    """One thing found; whole pixels of the upright photo."""

    label: str
    confidence: float
    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @classmethod
    def listed(cls, answer: InferenceResult, labels: Sequence[str]) -> list[Self]:
        """All that was found, best first: Frigate stops reading at the first that scores too little."""
        corners = ("x_min", "y_min", "x_max", "y_max")
        return [
            cls(
                label=labels[one.class_id],
                confidence=round(one.score, 4),
                **dict(zip(corners, (round(edge) for edge in one.box), strict=True)),
            )
            for one in answer.detections
        ]


_EXAMPLE: JsonDict = {
    "success": True,
    "predictions": [{"label": "dog", "confidence": 0.8712, "x_min": 131, "y_min": 218, "x_max": 310, "y_max": 539}],
    "count": 1,
    "inferenceMs": 62,
}


class Predictions(BaseModel):
    """What is in the photo, best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    success: bool = True
    predictions: list[Prediction]
    count: int
    inferenceMs: int = Field(description="Milliseconds in the network.")  # CodeProject.AI's name


class ModelNames(BaseModel):
    """The names that /v1/vision/custom/ takes."""

    success: bool = True
    models: list[str] = Field(examples=[["everyday"]])


async def _read_form(request: Request, door: TheDoor) -> Sequence[Part]:
    """The form of a client that has a key, if it needs one. Raises KeyWanted before anything else is told."""
    try:
        check_coding(request)
        parts = await read_form(request.headers.get("content-type", ""), request.stream())
    except (BadForm, UnsupportedBody):
        door.check_form(None)
        raise
    door.check_form(next((part.data for part in parts if part.name == FORM_FIELD), None))
    return parts


TheForm = Annotated[Sequence[Part], Depends(_read_form)]

_FORM: dict[str, Any] = {
    "type": "object",
    "required": [FIELD],
    "properties": {
        FIELD: {"type": "string", "format": "binary", "description": "The photo; the part needs no file name and no content type."},
        "min_confidence": {"type": "number", "minimum": 0, "maximum": 1, "default": MIN_CONFIDENCE, "example": 0.5},
        FORM_FIELD: {"type": "string", "example": "", "description": "The key, where the service wants one and no header has it."},
    },
}
_BODY: dict[str, Any] = {"description": "The photo, in a form.", "required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
_REFUSALS = (*PHOTO_REFUSALS, BadForm, UnsupportedBody, RequestValidationError)


@router.post(
    "/v1/vision/detection",
    summary="Detect as DeepStack does, with the default model",
    responses=DEEPSTACK.documented(*_REFUSALS, NoModel),
    openapi_extra={"requestBody": _BODY},
    dependencies=[once_each()],
)
async def detection(
    parts: TheForm, query: Annotated[DeepStackQuery, Query()], registry: TheRegistry, inference: TheInference
) -> Predictions:
    """Other fields of the form are taken and not read."""
    return await _predict(parts, query, registry.default, inference)


@router.post(
    "/v1/vision/custom/list", summary="The models' names, as DeepStack's clients ask", responses=DEEPSTACK.documented(*BODY_REFUSALS)
)
async def custom_list(request: Request, registry: TheRegistry, door: TheDoor) -> ModelNames:
    """A body is taken; of a form its api_key is read, where the service has keys and the head has none."""
    if door.asks_form():
        await _read_list_form(request, door)
    return ModelNames(models=[model.name for model in registry])


@router.post(
    "/v1/vision/custom/{model}",
    summary="Detect as DeepStack does, with a model by name",
    responses=DEEPSTACK.documented(*_REFUSALS, UnknownModel),
    openapi_extra={"requestBody": _BODY},
    dependencies=[once_each()],
)
async def custom(
    model: Annotated[str, Path(examples=["everyday"])],
    parts: TheForm,
    query: Annotated[DeepStackQuery, Query()],
    registry: TheRegistry,
    inference: TheInference,
) -> Predictions:
    """Other fields of the form are taken and not read."""
    return await _predict(parts, query, registry.get(model), inference)


async def _read_list_form(request: Request, door: Door) -> None:
    """Without a photo some clients send the other kind of form. Raises KeyWanted."""
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        door.check_form(dict(parse_qsl(await request.body())).get(FORM_FIELD.encode()))
    else:
        await _read_form(request, door)


async def _predict(parts: Sequence[Part], query: DeepStackQuery, model: LoadedModel, inference: InferencePipeline) -> Predictions:
    fields = _fields(parts)
    options = InferenceOptions(_min_confidence(fields.get("min_confidence", bytearray())), query.iou, max_detections=query.max_detections)
    answer = await inference.detect(bytes(fields[FIELD]), model, options)
    predictions = Prediction.listed(answer, model.detector.spec.labels)
    return Predictions(predictions=predictions, count=len(predictions), inferenceMs=round(answer.timing_ms["network"]))


def _fields(parts: Sequence[Part]) -> dict[str, bytearray]:
    """The form's fields by name. Raises BadForm where one that is known is given twice, or the photo is not."""
    for name in (FIELD, "min_confidence"):
        count = sum(part.name == name for part in parts)
        if count > 1 or (name == FIELD and count == 0):
            raise BadForm(f"the form must have one field {name!r}, got {count}.")
    return {part.name: part.data for part in parts}


def _min_confidence(given: bytearray) -> float:
    if not given.strip():
        return MIN_CONFIDENCE
    text = bytes(given[:80]).decode("utf-8", "replace")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadForm(f"min_confidence must be a number from 0 to 1, got {text!r}.")
    return value
