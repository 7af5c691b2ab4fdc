"""Responses of POST /detect."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from detector.boxes.detections import Detections
from detector.imaging.encode import EncodedImage, MediaType
from service.schemas.problem import Problem


class Box(BaseModel):
    """Edges in pixels of the upright image, from 0 at its left or top edge to its width or height."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class Detection(BaseModel):
    """One detected object."""

    label: str
    score: float = Field(description="Confidence of the model, 0 to 1.")
    box: Box

    @classmethod
    def from_detections(cls, detections: Detections, labels: Sequence[str]) -> list[Self]:
        """Convert `detections` in their order. Coordinates are rounded to 0.01 pixels."""
        edges = ("xmin", "ymin", "xmax", "ymax")
        return [
            cls(
                label=labels[detection.class_id],
                score=round(detection.score, 4),
                box=Box(**{edge: round(value, 2) for edge, value in zip(edges, detection.box, strict=True)}),
            )
            for detection in detections
        ]


class ImageSize(BaseModel):
    """Size of the upright image in pixels."""

    width: int
    height: int


class Timing(BaseModel):
    """Durations in milliseconds. Only the total includes queueing and drawing."""

    decode: float
    prepare: float
    network: float
    select: float
    total: float


class AnnotatedImage(BaseModel):
    """The image with the boxes drawn on it."""

    media_type: MediaType
    base64: str
    scale: float | None = Field(
        default=None, description="Size relative to the original image. Present only if the annotated image is smaller."
    )

    @classmethod
    def from_file(cls, media_type: MediaType, data: bytes, scale: float = 1.0) -> Self:
        """Encode the content of an image file in base64."""
        return cls(media_type=media_type, base64=b64encode(data).decode("ascii"), scale=None if scale == 1.0 else round(scale, 6))

    def decoded(self) -> EncodedImage:
        """Decode the base64 text to the image file."""
        return EncodedImage(self.media_type, b64decode(self.base64))


EXAMPLE_RESPONSE: JsonDict = {
    "model": "everyday",
    "version": "1",
    "image": {"width": 768, "height": 576},
    "detections": [{"label": "dog", "score": 0.8712, "box": {"xmin": 131.2, "ymin": 218.43, "xmax": 309.87, "ymax": 538.9}}],
    "timing_ms": {"decode": 6.1, "prepare": 2.4, "network": 61.7, "select": 0.6, "total": 71.2},
}


class DetectResponse(BaseModel):
    """The objects in one image, best score first."""

    model: str
    version: str = Field(default="1", description="Version of the model.")
    image: ImageSize
    detections: list[Detection]
    timing_ms: Timing
    annotated: AnnotatedImage | None = Field(default=None, description="Only for format=both.")

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_RESPONSE]})


EXAMPLE_FAILURE: JsonDict = {
    "problem": {
        "type": "urn:boxwright:problem:empty-image",
        "title": "The image is empty",
        "status": 400,
        "detail": "A sentence that explains the problem and what to do.",
    }
}


class FailedImage(BaseModel):
    """The problem of one image of a batch. It replaces the response of this image."""

    problem: Problem


class BatchDetectResponse(BaseModel):
    """The objects in each image of a batch, in order."""

    results: list[DetectResponse | FailedImage]
