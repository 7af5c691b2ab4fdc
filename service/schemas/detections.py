"""What goes over the wire: the shapes of answers, documented where they are defined."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from detector.detections import Detections
from detector.imaging.encode import EncodedImage, MediaType


class Box(BaseModel):
    """Edges in pixels of the upright photo: 0 is the left edge of its first pixel, its width the right edge of the last."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class Detection(BaseModel):
    """One thing found."""

    label: str
    score: float = Field(description="How sure the model is, 0 to 1.")
    box: Box

    @classmethod
    def listed(cls, found: Detections, labels: Sequence[str]) -> list[Self]:
        """All of `found`, in its order; boxes to a hundredth of a pixel."""
        edges = ("xmin", "ymin", "xmax", "ymax")
        return [
            cls(
                label=labels[one.class_id],
                score=round(one.score, 4),
                box=Box(**{edge: round(value, 2) for edge, value in zip(edges, one.box, strict=True)}),
            )
            for one in found
        ]


class ImageSize(BaseModel):
    """The upright photo, in pixels."""

    width: int
    height: int


class Timing(BaseModel):
    """Milliseconds. The stages leave out waiting for other requests and drawing; the total has both."""

    decode: float
    prepare: float
    network: float
    select: float
    total: float


class Annotated(BaseModel):
    """The photo with the boxes drawn on it."""

    media_type: MediaType
    base64: str

    @classmethod
    def of(cls, media_type: MediaType, data: bytes) -> Self:
        """From a file's bytes."""
        return cls(media_type=media_type, base64=b64encode(data).decode("ascii"))

    def decoded(self) -> EncodedImage:
        """The file's bytes."""
        return EncodedImage(self.media_type, b64decode(self.base64))


EXAMPLE: JsonDict = {
    "model": "everyday",
    "version": "1",
    "image": {"width": 768, "height": 576},
    "detections": [{"label": "dog", "score": 0.8712, "box": {"xmin": 131.2, "ymin": 218.43, "xmax": 309.87, "ymax": 538.9}}],
    "timing_ms": {"decode": 6.1, "prepare": 2.4, "network": 61.7, "select": 0.6, "total": 71.2},
}


class DetectAnswer(BaseModel):
    """What is in the photo, best score first."""

    model: str
    version: str = Field(default="1", description="Of the model.")
    image: ImageSize
    detections: list[Detection]
    timing_ms: Timing
    annotated: Annotated | None = Field(default=None, description="Only for format=both.")

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})


class VersionAnswer(BaseModel):
    """One version of a model."""

    version: str = Field(examples=["1"])
    state: str = Field(description="AVAILABLE: it answers; LOADING: it will; END: it is refused.", examples=["AVAILABLE"])


class ModelAnswer(BaseModel):
    """One model that is being served, by its newest version."""

    name: str = Field(examples=["everyday"])
    version: str = Field(default="1", examples=["1"], description="The one that answers where none is named.")
    labels: list[str] = Field(examples=[["cat", "dog"]])
    input_size: int = Field(examples=[288], description="The network's input, in pixels along a side.")
    parameters: int = Field(examples=[3_900_000], description="Numbers in its arrays.")
    engine: str = Field(examples=["onnxruntime"])
    default: bool = Field(examples=[True], description="Whether it answers where no model is named.")
    ap: str | None = Field(
        default=None, description="How good it was found to be, and on what.", examples=["0.8043 on set val, 301 photos"]
    )
    memory_bytes: int = Field(default=0, examples=[50_331_648], description="What it takes in memory, about.")
    file: str | None = Field(default=None, description="Of the folder of models.", examples=["mine/3/model.safetensors"])
    versions: list[VersionAnswer] = Field(default=[], description="Those that are loaded, under way or refused, the newest first.")
    provenance: Mapping[str, str] = Field(examples=[{"source": "trained by ..."}], description="Where its weights come from.")


class RefusedModel(BaseModel):
    """What lies in the folder of models and is not served."""

    name: str = Field(examples=["everyday"])
    version: str | None = Field(examples=["3"], description="null: all that is there under this name.")
    why: str = Field(examples=["everyday/3/model.safetensors: damaged, or cut short."])
    since: datetime = Field(examples=["2026-11-26T12:00:00Z"])


class ModelList(BaseModel):
    """The models that are being served, the default first."""

    models: list[ModelAnswer]
    refused: list[RefusedModel] = []


class Health(BaseModel):
    """That the service is there."""

    status: str = Field(examples=["ready"])


class ParameterProblem(BaseModel):
    """What is wrong with one parameter."""

    parameter: str
    detail: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="A URI that identifies the kind of problem.")
    title: str = Field(description="What the kind of problem is.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong here, and what to do.")
    errors: list[ParameterProblem] | None = Field(default=None, description="Each parameter that is not valid.")


FAILED: JsonDict = {
    "problem": {
        "type": "urn:boxwright:problem:empty-photo",
        "title": "The photo is empty",
        "status": 400,
        "detail": "A sentence that says what to do.",
    }
}


class FailedPhoto(BaseModel):
    """In the place of an answer: why this photo of several cannot be used."""

    problem: Problem


class SeveralAnswer(BaseModel):
    """What is in each of several photos, in their order."""

    results: list[DetectAnswer | FailedPhoto]
