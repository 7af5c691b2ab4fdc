"""A photo in, boxes out: the whole path in one place."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.detections import Detections
from detector.engines import Engine
from detector.errors import NetworkError, SettingError, UnknownLabel, join_names
from detector.grid import Logits, decode
from detector.imaging.image import Reduced
from detector.nms import suppress
from detector.placement import ImageArray, Pixels, Placement
from detector.spec import ModelSpec

DEFAULT_SCORE = 0.25
DEFAULT_IOU = 0.45
SPARE = 2
"""Times the input's side that a photo decoded at reduced scale keeps: what is left to the antialiased resize hides how it was decoded."""


@dataclass(frozen=True)
class PreparedImage:
    """A photo as the network reads it, and where it lies there."""

    placement: Placement
    pixels: Pixels  # (S, S, 3)


@dataclass(frozen=True)
class Detector:
    """A spec and an engine. Raises NetworkError if the model is a stem, which has nothing to say of boxes."""

    spec: ModelSpec
    engine: Engine

    def __post_init__(self) -> None:
        if not self.spec.is_detector:
            raise NetworkError("this model has no anchors: it is a stem to train upon, not a detector.")

    def detect(
        self,
        image: ImageArray | Reduced,
        *,
        score_threshold: float = DEFAULT_SCORE,
        iou_threshold: float = DEFAULT_IOU,
        class_ids: Collection[int] | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """(H, W, 3) uint8 RGB, or what `prepare` takes -> boxes in image pixels, clipped to the picture, best score first.

        class_ids: only these classes. Raises SettingError for a threshold outside 0..1 or max_detections below 1.
        """
        prepared = self.prepare(image)
        raw = self.network(prepared.pixels[None])[0]
        return self.select(
            raw,
            prepared,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            class_ids=class_ids,
            max_detections=max_detections,
        )

    def prepare(self, image: ImageArray | Reduced) -> PreparedImage:
        """First step: (H, W, 3) uint8 RGB, or what `read_reduced` made of a file with `enough` -> network pixels (S, S, 3)."""
        if isinstance(image, Reduced):
            placement = Placement.of(self.spec, image.width, image.height)
            return PreparedImage(placement, placement.apply(image.image))
        placement = Placement.fit(self.spec, image)
        return PreparedImage(placement, placement.apply(image))

    @property
    def enough(self) -> int | None:
        """Pixels along both sides of a photo that are enough for `prepare`; None: all.

        A model that was shown single pixels of its photos, as Darknet's were, must be shown those.
        """
        return SPARE * self.spec.input_size if self.spec.resample == "antialiased" else None

    def network(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Second step: (N, S, S, 3) float32, 0..255 -> logits (N, G, G, A, 5 + C)."""
        return self.engine(pixels)

    def select(
        self,
        raw: Logits,
        prepared: PreparedImage,
        *,
        score_threshold: float = DEFAULT_SCORE,
        iou_threshold: float = DEFAULT_IOU,
        class_ids: Collection[int] | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """Third step: logits (G, G, A, 5 + C) of one photo -> boxes in image pixels."""
        _check(score_threshold, iou_threshold, max_detections)
        boxes, scores = decode(raw, self.spec.anchors, self.spec.stride, above=score_threshold)
        if class_ids is not None:
            scores = np.where(np.isin(np.arange(scores.shape[1]), list(class_ids)), scores, 0)
        kept = suppress(boxes, scores, score_threshold, iou_threshold, max_detections)
        placement = prepared.placement
        return kept.moved(placement.to_image).clipped(placement.width, placement.height)

    def class_ids(self, labels: Iterable[str]) -> frozenset[int]:
        """Labels -> class ids. Raises UnknownLabel, which names the known ones."""
        known = {label: index for index, label in enumerate(self.spec.labels)}
        wanted = set(labels)
        if unknown := wanted - known.keys():
            raise UnknownLabel(f"this model has no class {min(unknown)[:80]!r}; it knows {join_names(known)}.")
        return frozenset(known[label] for label in wanted)


def _check(score_threshold: float, iou_threshold: float, max_detections: int | None) -> None:
    for name, value in (("score_threshold", score_threshold), ("iou_threshold", iou_threshold)):
        if not 0 <= value <= 1:
            raise SettingError(f"{name} must be between 0 and 1, got {value}.")
    if max_detections is not None and max_detections < 1:
        raise SettingError(f"max_detections must be at least 1, got {max_detections}.")
