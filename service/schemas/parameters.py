"""Detection parameters that /detect and the tensor protocols share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from detector.detector import DEFAULT_IOU, DEFAULT_SCORE
from service.inference.types import MAX_DETECTIONS, InferenceOptions
from service.models.loaded_model import LoadedModel


def _parse_confidence(value: object) -> float | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):  # the latter: an integer of more than 308 digits
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError("must be a number from 0 to 1, or auto")
    return number


Confidence = Annotated[
    float | Literal["auto"], PlainValidator(_parse_confidence, json_schema_input_type=Annotated[float, Field(ge=0, le=1)] | Literal["auto"])
]
"""One validator instead of a union of types, so that an invalid value gives one error."""


class DetectionParameters(BaseModel):
    """Thresholds and limits of a detection."""

    model_config = ConfigDict(extra="forbid")  # otherwise a misspelt parameter would be ignored

    confidence: Confidence = Field(
        default=DEFAULT_SCORE,
        description="Omit boxes with this score or a lower one. auto: the score that the model suggests for each class.",
    )
    iou: float = Field(
        default=DEFAULT_IOU, ge=0, le=1, description="If two boxes of one class overlap by more than this IoU, keep the better one."
    )
    max_detections: int = Field(default=MAX_DETECTIONS, ge=1, le=1000, description="Maximum number of boxes; the best are kept.")

    def options(self, model: LoadedModel) -> InferenceOptions:
        """Return these values as options of `InferencePipeline.detect` for a model."""
        threshold = model.suggested_confidence if self.confidence == "auto" else self.confidence
        return InferenceOptions(score_threshold=threshold, iou_threshold=self.iou, max_detections=self.max_detections)
