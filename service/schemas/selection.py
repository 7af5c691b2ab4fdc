"""Which boxes to answer, in the words that every way in shares."""

from pydantic import BaseModel, ConfigDict, Field

from detector.detector import DEFAULT_IOU, DEFAULT_SCORE
from service.inference.types import MAX_DETECTIONS, InferenceOptions


class Selection(BaseModel):
    """The options that say which boxes stay."""

    model_config = ConfigDict(extra="forbid")  # a misspelt option would otherwise have no effect and say nothing

    confidence: float = Field(default=DEFAULT_SCORE, ge=0, le=1, description="Leave out boxes that score no more than this.")
    iou: float = Field(
        default=DEFAULT_IOU, ge=0, le=1, description="Of two boxes of one class that overlap more than this the better one stays."
    )
    max_detections: int = Field(default=MAX_DETECTIONS, ge=1, le=1000, description="At most so many boxes, the best.")

    def options(self) -> InferenceOptions:
        """The same for `Inference.detect`."""
        return InferenceOptions(score_threshold=self.confidence, iou_threshold=self.iou, max_detections=self.max_detections)
