"""Query parameters that all endpoints for detection share."""

from pydantic import BaseModel, ConfigDict, Field

from detector.detector import DEFAULT_IOU, DEFAULT_SCORE
from service.inference.types import MAX_DETECTIONS, InferenceOptions


class DetectionParameters(BaseModel):
    """Thresholds and limits of a detection."""

    model_config = ConfigDict(extra="forbid")  # otherwise a misspelt parameter would be ignored

    confidence: float = Field(default=DEFAULT_SCORE, ge=0, le=1, description="Omit boxes with this score or a lower one.")
    iou: float = Field(
        default=DEFAULT_IOU, ge=0, le=1, description="If two boxes of one class overlap by more than this IoU, keep the better one."
    )
    max_detections: int = Field(default=MAX_DETECTIONS, ge=1, le=1000, description="Maximum number of boxes; the best are kept.")

    def options(self) -> InferenceOptions:
        """Return these values as options of `InferencePipeline.detect`."""
        return InferenceOptions(score_threshold=self.confidence, iou_threshold=self.iou, max_detections=self.max_detections)
