"""What `boxwright detect` does with one photo."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.download_bar import load_model
from detector.detections import Detections
from detector.detector import Detector
from detector.draw import draw_detections
from detector.image import read_image
from detector.placement import Picture
from service.schemas import Detection
from weights.engines import EngineName, load_engine


@dataclass(frozen=True, eq=False)
class Found:
    """What is in one photo."""

    photo: Path
    picture: Picture
    detections: Detections
    labels: Sequence[str]

    def listed(self) -> list[Detection]:
        """The detections as the service answers them."""
        return Detection.listed(self.detections, self.labels)

    def drawn(self) -> Picture:
        """The picture with the boxes on it."""
        return draw_detections(self.picture, self.detections, self.labels)

    def as_json(self, model: str) -> dict[str, Any]:
        """As the service answers, with the photo's path in front."""
        height, width = self.picture.shape[:2]
        detections = [detection.model_dump() for detection in self.listed()]
        return {"photo": str(self.photo), "model": model, "image": {"width": width, "height": height}, "detections": detections}


@dataclass(frozen=True)
class Finder:
    """A detector and what is asked of it."""

    name: str
    detector: Detector
    confidence: float
    iou: float
    class_ids: Collection[int] | None

    @classmethod
    def load(cls, model: str | None, engine: EngineName, *, confidence: float, iou: float, classes: Sequence[str]) -> "Finder":
        """Raises UnknownModel, ModelError, MissingExtra, UnknownLabel."""
        loaded = load_model(model)
        detector = Detector(loaded.spec, load_engine(loaded, engine))
        return cls(loaded.name, detector, confidence, iou, detector.class_ids(classes) if classes else None)

    def find(self, photo: Path) -> Found:
        """Raises OSError and ImageError for a photo that cannot be read."""
        picture = read_image(photo.read_bytes())
        found = self.detector.detect(picture, score_threshold=self.confidence, iou_threshold=self.iou, class_ids=self.class_ids)
        return Found(photo, picture, found, self.detector.spec.labels)
