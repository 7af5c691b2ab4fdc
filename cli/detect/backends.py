"""Finds things in photos with a model that is loaded here."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from cli.detect.found import Found, Wanted
from cli.detect.inputs import read_photo
from cli.output.download_bar import load_ready
from detector.detector import Detector
from detector.imaging.draw import draw_detections
from detector.imaging.encode import encode
from detector.imaging.image import read_image, read_reduced
from service.schemas.detections import Detection
from weights.engines.factory import EngineName


@dataclass(frozen=True)
class Finder:
    """A detector and what is asked of it."""

    name: str
    detector: Detector
    wanted: Wanted
    class_ids: Collection[int] | None

    @classmethod
    def load(cls, model: str | None, engine: EngineName, wanted: Wanted) -> "Finder":
        """Raises UnknownModel, ModelError, MissingExtra, UnknownLabel."""
        ready = load_ready(model, engine)
        Thread(target=ready.keep, name="keep").start()  # beside the photos
        detector = Detector(ready.facts.spec, ready.engine)
        return cls(ready.facts.name, detector, wanted, detector.class_ids(wanted.classes) if wanted.classes else None)

    def find(self, photo: Path) -> Found:
        """Raises OSError and ImageError for a photo that cannot be read."""
        data = read_photo(photo)
        reduced = read_reduced(data, self.detector.enough)
        wanted, labels = self.wanted, self.detector.spec.labels
        found = self.detector.detect(reduced, score_threshold=wanted.confidence, iou_threshold=wanted.iou, class_ids=self.class_ids)
        annotated = None
        if wanted.annotate:
            annotated = encode(draw_detections(reduced.picture if reduced.whole else read_image(data), found, labels))
        return Found(photo, self.name, reduced.width, reduced.height, Detection.from_detections(found, labels), annotated)
