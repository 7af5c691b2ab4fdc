"""DeepStack's HTTP interface, for Frigate, Home Assistant, Blue Iris and clients of CodeProject.AI."""

from collections.abc import Sequence
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from detector.detector import DEFAULT_IOU
from detector.errors import UnknownModel
from detector.version import installed_version
from service.auth.authenticator import FORM_FIELD, ApiKeyAuthenticator
from service.errors import BODY_ERRORS, IMAGE_ERRORS, BadForm, NoModel, UnsupportedMediaType
from service.inference.pipeline import InferencePipeline
from service.inference.types import MAX_DETECTIONS, InferenceOptions, InferenceResult
from service.models.loaded_model import LoadedModel
from service.request.body_hints import check_form_file
from service.request.images import IMAGE_FIELD, check_content_coding
from service.request.multipart import FormField, parse_form
from service.routes.dependencies import AuthenticatorDep, InferenceDep, RegistryDep, admit_images, reject_repeated_params
from service.schemas.error_formats import DEEPSTACK

router = APIRouter(tags=["deepstack"], prefix=f"{DEEPSTACK.prefix}/vision")

status_router = APIRouter(tags=["deepstack"], prefix=DEEPSTACK.prefix)
"""Status endpoints of DeepStack and CodeProject.AI. They need no API key."""

MIN_CONFIDENCE = 0.4  # DeepStack's default, which its clients rely on.
CONFIDENCE_FIELD = "min_confidence"
MAX_KEY_FORM_BYTES = 4096
"""Longest URL-encoded form that is searched for a key. Splitting megabytes of it would block the event loop for seconds."""


class DeepStackQuery(BaseModel):
    """Options that DeepStack's form or the client lacks. Add them to the address that you configure in the client."""

    model_config = ConfigDict(extra="forbid")

    min_confidence: float = Field(
        default=MIN_CONFIDENCE, ge=0, le=1, description="Minimum score of a box. The form's field of this name takes precedence."
    )
    iou: float = Field(
        default=DEFAULT_IOU, ge=0, le=1, description="If two boxes of one class overlap by more than this IoU, keep the better one."
    )
    max_detections: int = Field(
        default=MAX_DETECTIONS, ge=1, le=1000, description="Maximum number of boxes. Frigate fails if it gets more than 20."
    )


class Prediction(BaseModel):
    """One detected object, in whole pixels of the upright image."""

    label: str
    confidence: float
    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @classmethod
    def from_result(cls, result: InferenceResult, labels: Sequence[str]) -> list[Self]:
        """Convert all detections, best first: Frigate stops at the first one below its threshold."""
        corners = ("x_min", "y_min", "x_max", "y_max")
        return [
            cls(
                label=labels[detection.class_id],
                confidence=round(detection.score, 4),
                **dict(zip(corners, (round(edge) for edge in detection.box), strict=True)),
            )
            for detection in result.detections
        ]


_EXAMPLE: JsonDict = {
    "success": True,
    "predictions": [{"label": "dog", "confidence": 0.8712, "x_min": 131, "y_min": 218, "x_max": 310, "y_max": 539}],
    "count": 1,
    "inferenceMs": 62,
    "processMs": 71,
}


class Predictions(BaseModel):
    """The objects in the image, best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    success: bool = True
    predictions: list[Prediction]
    count: int
    inferenceMs: int = Field(description="Milliseconds in the network.")  # CodeProject.AI's names
    processMs: int = Field(description="Milliseconds in total.")


class Ping(BaseModel):
    """Response to a ping."""

    success: bool = True


class UpdateStatus(BaseModel):
    """Version of the service. It never offers updates."""

    success: bool = True
    message: str = Field(examples=["This is the installed version."])
    version: str = Field(examples=["0.1.0"])
    updateAvailable: bool = False  # CodeProject.AI's name


class ModelNames(BaseModel):
    """The model names that /v1/vision/custom/ accepts."""

    success: bool = True
    models: list[str] = Field(examples=[["everyday"]])


@status_router.get("/server/status/ping", summary="Is the process alive? (CodeProject.AI)")
@status_router.get("/status/ping", summary="Is the process alive? (earlier CodeProject.AI)")
async def ping() -> Ping:
    """Succeeds while the process can handle requests."""
    return Ping()


@status_router.get("/server/status/updateavailable", summary="Is there an update? (CodeProject.AI)")
@status_router.get("/status/updateavailable", summary="Is there an update? (earlier CodeProject.AI)")
async def update_available() -> UpdateStatus:
    """Clients send this request when they connect. The response never offers an update."""
    return UpdateStatus(message="This is the installed version.", version=installed_version())


async def _read_form(request: Request, authenticator: AuthenticatorDep) -> Sequence[FormField]:
    """Return the fields of the form. Raises InvalidApiKey before any error of the form."""
    try:
        check_content_coding(request)
        fields = parse_form(request.headers.get("content-type", ""), await request.body())
    except (BadForm, UnsupportedMediaType):
        authenticator.check_form_key(None)
        raise
    authenticator.check_form_key(next((field.data for field in fields if field.name == FORM_FIELD), None))
    return fields


FormDep = Annotated[Sequence[FormField], Depends(_read_form)]

_FORM: dict[str, Any] = {
    "type": "object",
    "required": [IMAGE_FIELD],
    "properties": {
        IMAGE_FIELD: {"type": "string", "format": "binary", "description": "The image file. A file name and a content type are optional."},
        CONFIDENCE_FIELD: {"type": "number", "minimum": 0, "maximum": 1, "default": MIN_CONFIDENCE, "example": 0.5},
        FORM_FIELD: {"type": "string", "example": "", "description": "The API key, if the service requires one and no header has it."},
    },
}
_BODY: dict[str, Any] = {"description": "The image, in a form.", "required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
_ERRORS = (*IMAGE_ERRORS, BadForm, UnsupportedMediaType, RequestValidationError)


@router.post(
    "/detection",
    summary="Detect like DeepStack, with the default model",
    responses=DEEPSTACK.documented(*_ERRORS, NoModel),
    openapi_extra={"requestBody": _BODY},
    dependencies=[admit_images, reject_repeated_params()],
)
async def detection(
    fields: FormDep, query: Annotated[DeepStackQuery, Query()], registry: RegistryDep, inference: InferenceDep
) -> Predictions:
    """Unknown form fields are ignored."""
    return await _predict(fields, query, registry.default, inference)


@router.post("/custom/list", summary="List the model names like DeepStack", responses=DEEPSTACK.documented(*BODY_ERRORS))
async def custom_list(request: Request, registry: RegistryDep, authenticator: AuthenticatorDep) -> ModelNames:
    """The body may be empty, or a form. The form is read only for its API key, if the service requires one and no header has it."""
    if authenticator.needs_form_key:
        await _check_key_in_form(request, authenticator)
    return ModelNames(models=[model.name for model in registry])


@router.post(
    "/custom/{model}",
    summary="Detect like DeepStack, with a named model",
    responses=DEEPSTACK.documented(*_ERRORS, UnknownModel),
    openapi_extra={"requestBody": _BODY},
    dependencies=[admit_images, reject_repeated_params()],
)
async def custom(
    model: Annotated[str, Path(examples=["everyday"])],
    fields: FormDep,
    query: Annotated[DeepStackQuery, Query()],
    registry: RegistryDep,
    inference: InferenceDep,
) -> Predictions:
    """Unknown form fields are ignored."""
    return await _predict(fields, query, registry.get(model), inference)


async def _check_key_in_form(request: Request, authenticator: ApiKeyAuthenticator) -> None:
    """Read the key from either kind of form: some clients send no multipart form if they have no image. Raises InvalidApiKey."""
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        body = await request.body()
        fields = dict(parse_qsl(body.decode("latin-1"), encoding="latin-1")) if len(body) <= MAX_KEY_FORM_BYTES else {}
        authenticator.check_form_key(fields.get(FORM_FIELD, "").encode("latin-1"))  # Latin-1 has a character for each byte
    else:
        await _read_form(request, authenticator)


async def _predict(fields: Sequence[FormField], query: DeepStackQuery, model: LoadedModel, inference: InferencePipeline) -> Predictions:
    values = _known_fields(fields)
    confidence = _min_confidence(values.get(CONFIDENCE_FIELD, b""), query.min_confidence)
    options = InferenceOptions(confidence, query.iou, max_detections=query.max_detections)
    result = await inference.detect(values[IMAGE_FIELD], model, options)
    predictions = Prediction.from_result(result, model.detector.spec.labels)
    times = result.timing_ms
    return Predictions(
        predictions=predictions, count=len(predictions), inferenceMs=round(times["network"]), processMs=round(times["total"])
    )


def _known_fields(fields: Sequence[FormField]) -> dict[str, bytes]:
    """Return the fields by name. Raises BadForm if a known field is repeated, or the image is missing."""
    for name in (IMAGE_FIELD, CONFIDENCE_FIELD):
        count = sum(field.name == name for field in fields)
        if count > 1 or (name == IMAGE_FIELD and count == 0):
            others = ", ".join(repr(field.name[:40]) for field in fields) if count == 0 else ""
            hint = f" Its fields are {others}. Send the image file as {name!r}." if others else ""
            raise BadForm(f"The form must have one field {name!r}, got {count}.{hint}")
    values = {field.name: field.data for field in fields}
    check_form_file(IMAGE_FIELD, values[IMAGE_FIELD])
    return values


def _min_confidence(data: bytes, default: float) -> float:
    if not data.strip():
        return default
    text = data[:80].decode("utf-8", "replace")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadForm(f"{CONFIDENCE_FIELD} must be a number from 0 to 1, got {text!r}.")
    return value
