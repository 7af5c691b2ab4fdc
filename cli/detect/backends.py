"""Detection in this process, or by a running service, with the same result."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from cli.checks import match_labels
from cli.detect.inputs import read_input
from cli.output.progress import load_named_engine
from detector.detector import Detector, ScoreThreshold
from detector.errors import UnknownModel
from detector.imaging.draw import draw_detections
from detector.imaging.encode import EncodedImage, encode_image
from detector.imaging.image import decode_image, read_image
from detector.messages import did_you_mean
from service.schemas.detections import Detection
from weights.engines.options import EngineOptions
from weights.formats.provenance import class_confidence

if TYPE_CHECKING:
    from service.client.client import ServiceClient
    from service.schemas.models import ModelInfo

MAX_SERVICE_DETECTIONS = 1000  # Maximum number of detections that a service returns for one image.


@dataclass(frozen=True)
class DetectionOptions:
    """What to detect in every image."""

    confidence: float | None  # None: the thresholds that the model suggests for its classes
    iou: float
    classes: Sequence[str]  # only these labels; empty: all labels
    annotate: bool = False  # also draw the boxes into a copy


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """The detections in one image."""

    path: Path
    model: str
    width: int  # pixels, upright
    height: int  # pixels, upright
    detections: Sequence[Detection]
    annotated: EncodedImage | None = None  # the copy with boxes, if requested

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the service's response, with the image's path in front."""
        return {
            "photo": str(self.path),
            "model": self.model,
            "image": {"width": self.width, "height": self.height},
            "detections": [detection.model_dump() for detection in self.detections],
        }


class DetectionBackend(Protocol):
    """Detects objects in image files."""

    def detect(self, path: Path) -> DetectionResult:
        """Detect objects in one file. Any error that is not listed here would recur with the next file.

        Raises:
            OSError: The file cannot be read.
            ImageError: The file is not a valid image.
            RequestRejected: The service does not accept the image.
        """
        ...


@dataclass(frozen=True)
class LocalBackend:
    """Runs a model in this process."""

    name: str
    detector: Detector
    options: DetectionOptions
    class_ids: Collection[int] | None
    score_threshold: ScoreThreshold
    engine_writer: Thread  # Writes the engine to the disk cache while images are processed. Join it before the process ends.

    @classmethod
    def load(cls, model: str | None, engine: EngineOptions, options: DetectionOptions) -> "LocalBackend":
        """Load a model. Raises UnknownModel, ModelError, SettingError, MissingExtra, UnknownLabel."""
        ready = load_named_engine(model, engine)
        detector = Detector(ready.facts.spec, ready.engine)
        classes = match_labels(options.classes, detector.spec.labels, ready.facts.name)
        threshold: ScoreThreshold | None = options.confidence
        if threshold is None:
            threshold = class_confidence(ready.facts.provenance, detector.spec.labels)
        writer = Thread(target=ready.persist, name="persist-engine")
        writer.start()
        return cls(ready.facts.name, detector, options, detector.class_ids(classes) if classes else None, threshold, writer)

    def detect(self, path: Path) -> DetectionResult:
        """See `DetectionBackend.detect`."""
        image_bytes = read_input(path)
        reduced = decode_image(image_bytes, self.detector.min_decode_side)
        options, labels = self.options, self.detector.spec.labels
        found = self.detector.detect(reduced, score_threshold=self.score_threshold, iou_threshold=options.iou, class_ids=self.class_ids)
        annotated = None
        if options.annotate:
            image = reduced.array if reduced.is_full_size else read_image(image_bytes)
            annotated = encode_image(draw_detections(image, found, labels))
        return DetectionResult(path, self.name, reduced.width, reduced.height, Detection.from_detections(found, labels), annotated)


@dataclass(frozen=True)
class ServerBackend:
    """Sends images to a running service."""

    client: "ServiceClient"
    model: str
    options: DetectionOptions

    @classmethod
    def connect(cls, client: "ServiceClient", model: str | None, options: DetectionOptions) -> "ServerBackend":
        """Check model and labels before the first image is sent. Raises ClientError, UnknownModel, UnknownLabel."""
        chosen = _choose_model(client, model)
        classes = match_labels(options.classes, chosen.labels, f"{chosen.name} at {client.display_url}")
        return cls(client, chosen.name, replace(options, classes=classes))

    def detect(self, path: Path) -> DetectionResult:
        """See `DetectionBackend.detect`."""
        options = self.options
        response = self.client.detect(
            read_input(path),
            model=self.model,
            confidence="auto" if options.confidence is None else options.confidence,
            iou=options.iou,
            classes=options.classes,
            max_detections=MAX_SERVICE_DETECTIONS,
            include_annotated=options.annotate,
        )
        annotated = response.annotated.decoded() if response.annotated else None
        return DetectionResult(path, response.model, response.image.width, response.image.height, response.detections, annotated)


def _choose_model(client: "ServiceClient", name: str | None) -> "ModelInfo":
    models = client.models()
    chosen = next((model for model in models if model.name == name or (name is None and model.default)), None)
    if chosen is None:
        names = [model.name for model in models]
        hint = did_you_mean(name, names) if name else ""
        raise UnknownModel(f"{client.display_url} serves no model {str(name)[:80]!r}.{hint} It serves {', '.join(names)}.")
    return chosen
