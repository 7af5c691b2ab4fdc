"""The result of a detection."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.boxes.detections import Detections as BoxArrays
from detector.imaging.draw import draw_detections
from detector.imaging.image import read_image
from service.schemas.detections import Detection


class DetectedObject(NamedTuple):
    """One object in an image."""

    label: str
    score: float
    """The model's confidence, 0 to 1."""
    box: tuple[float, float, float, float]
    """xmin, ymin, xmax, ymax in pixels of the upright image; 0 is the left edge of the first pixel."""


@dataclass(frozen=True, eq=False)
class Detections(Sequence[DetectedObject]):
    """The objects in one image, best score first."""

    objects: tuple[DetectedObject, ...]
    model: str
    """Name of the model."""
    width: int
    """Width of the upright image in pixels."""
    height: int
    """Height of the upright image in pixels."""
    _labels: Sequence[str] = field(repr=False)  # of the model; the index of a label decides its colour
    _image: bytes | NDArray[np.uint8] = field(repr=False)

    @classmethod
    def of(
        cls, detections: Sequence[Detection], model: str, size: tuple[int, int], labels: Sequence[str], image: bytes | NDArray[np.uint8]
    ) -> "Detections":
        """Create a result from the service's schema. size: (width, height). image: what `draw` draws on."""
        objects = (
            DetectedObject(each.label, each.score, (each.box.xmin, each.box.ymin, each.box.xmax, each.box.ymax)) for each in detections
        )
        return cls(tuple(objects), model, *size, labels, image)

    def __len__(self) -> int:
        return len(self.objects)

    def __iter__(self) -> Iterator[DetectedObject]:
        return iter(self.objects)

    @overload
    def __getitem__(self, index: int) -> DetectedObject: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[DetectedObject]: ...
    def __getitem__(self, index: int | slice) -> DetectedObject | Sequence[DetectedObject]:
        return self.objects[index]

    def draw(self) -> Image.Image:
        """Return a copy of the image with boxes, labels and scores."""
        image = read_image(self._image) if isinstance(self._image, bytes) else self._image
        boxes = np.array([each.box for each in self.objects], np.float32).reshape(-1, 4)
        scores = np.array([each.score for each in self.objects], np.float32)
        class_ids = np.array([self._labels.index(each.label) for each in self.objects], np.int64)
        return Image.fromarray(draw_detections(image, BoxArrays(boxes, scores, class_ids), self._labels))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, as `boxwright detect --json` prints them, but without the image's path."""
        edges = ("xmin", "ymin", "xmax", "ymax")
        return {
            "model": self.model,
            "image": {"width": self.width, "height": self.height},
            "detections": [
                {"label": each.label, "score": each.score, "box": dict(zip(edges, each.box, strict=True))} for each in self.objects
            ],
        }
