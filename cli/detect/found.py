"""What was found in a photo, here or by a service."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from detector.imaging.encode import EncodedImage
from service.schemas.detections import Detection


@dataclass(frozen=True, eq=False)
class Found:
    """What is in one photo of `width` x `height` pixels, upright."""

    photo: Path
    model: str
    width: int
    height: int
    detections: Sequence[Detection]
    annotated: EncodedImage | None  # with the boxes on it, if that was asked for

    def as_json(self) -> dict[str, Any]:
        """As the service answers, with the photo's path in front."""
        detections = [detection.model_dump() for detection in self.detections]
        return {
            "photo": str(self.photo),
            "model": self.model,
            "image": {"width": self.width, "height": self.height},
            "detections": detections,
        }


@dataclass(frozen=True)
class Wanted:
    """What is asked of every photo."""

    confidence: float
    iou: float
    classes: Sequence[str]  # only these labels; all if there are none
    annotate: bool


class Finds(Protocol):
    """Whoever can say what is in a photo."""

    def find(self, photo: Path) -> Found:
        """Raises OSError, ImageError and Refused for a photo that cannot be used; what else it raises would hold for the next one too."""
        ...
