"""The detector: image in, boxes out, in three steps (preprocess, forward, postprocess)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Detections
from detector.boxes.grid import Logits, decode
from detector.boxes.nms import suppress
from detector.boxes.placement import ImageArray, Pixels, Placement
from detector.engines import Engine
from detector.errors import NetworkError, SettingError, UnknownLabel
from detector.imaging.image import DecodedImage
from detector.messages import did_you_mean, join_names
from detector.network.spec import ModelSpec

ScoreThreshold = float | NDArray[np.float32]  # One threshold, or one for each class (C,); 0..1.

DEFAULT_SCORE = 0.25
DEFAULT_IOU = 0.45
REDUCED_SIDE_FACTOR = 2
"""Minimum side of a reduced-scale JPEG, as a multiple of the input size. The antialiased resize that follows hides the reduced decoding."""


@dataclass(frozen=True)
class PreparedImage:
    """An image resized to the network's input, and its placement there."""

    placement: Placement
    pixels: Pixels  # (S, S, 3)


@dataclass(frozen=True)
class Detector:
    """A model spec and the engine that runs its network. Raises NetworkError if the model is a backbone without anchors."""

    spec: ModelSpec
    engine: Engine

    def __post_init__(self) -> None:
        if not self.spec.is_detector:
            raise NetworkError("this model has no anchors: it is a backbone for training, not a detector.")

    def detect(
        self,
        image: ImageArray | DecodedImage,
        *,
        score_threshold: ScoreThreshold = DEFAULT_SCORE,
        iou_threshold: float = DEFAULT_IOU,
        class_ids: Collection[int] | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """Detect objects in one image.

        Args:
            image: (H, W, 3) uint8 RGB, or the result of `decode_image` with `min_side=self.min_decode_side`.
            score_threshold: Drop boxes at or below this score, 0..1: one number, or one for each class.
            iou_threshold: Drop a box if its IoU with a better one of its class exceeds this, 0..1.
            class_ids: Return only these classes. None returns all.
            max_detections: Return at most this many boxes. None returns all.

        Returns:
            Boxes in image pixels, clipped to the image, best score first.

        Raises:
            SettingError: A threshold is outside 0..1, or max_detections is below 1.
        """
        prepared = self.preprocess(image)
        logits = self.forward(prepared.pixels[None])[0]
        return self.postprocess(
            logits,
            prepared,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            class_ids=class_ids,
            max_detections=max_detections,
        )

    def preprocess(self, image: ImageArray | DecodedImage) -> PreparedImage:
        """Step 1: resize an image to network pixels (S, S, 3). See `detect` for the accepted types."""
        if isinstance(image, DecodedImage):
            placement = Placement.of(self.spec, image.width, image.height)
            return PreparedImage(placement, placement.apply(image.pillow_image))
        placement = Placement.fit(self.spec, image)
        return PreparedImage(placement, placement.apply(image))

    @property
    def min_decode_side(self) -> int | None:
        """Minimum side, in pixels, of a JPEG decoded at reduced scale for `preprocess`. None: decode at full scale.

        Models trained without antialiasing, such as Darknet's, read single pixels and need the full scale.
        """
        return REDUCED_SIDE_FACTOR * self.spec.input_size if self.spec.resample == "antialiased" else None

    def forward(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Step 2: run the network. (N, S, S, 3) float32, 0..255 -> logits (N, G, G, A, 5 + C)."""
        return self.engine(pixels)

    def postprocess(
        self,
        logits: Logits,
        prepared: PreparedImage,
        *,
        score_threshold: ScoreThreshold = DEFAULT_SCORE,
        iou_threshold: float = DEFAULT_IOU,
        class_ids: Collection[int] | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """Step 3: logits (G, G, A, 5 + C) of one image -> boxes in image pixels. See `detect` for the options."""
        _check_options(score_threshold, iou_threshold, max_detections)
        boxes, scores = decode(logits, self.spec.anchors, self.spec.stride, above=float(np.min(score_threshold)))
        if class_ids is not None:
            scores = np.where(np.isin(np.arange(scores.shape[1]), list(class_ids)), scores, 0)
        detections = suppress(boxes, scores, score_threshold, iou_threshold, max_detections)
        placement = prepared.placement
        return detections.moved(placement.to_image).clipped(placement.width, placement.height)

    def class_ids(self, labels: Iterable[str]) -> frozenset[int]:
        """Return the class ids of labels. Raises UnknownLabel, which lists the model's labels."""
        known = {label: index for index, label in enumerate(self.spec.labels)}
        requested = set(labels)
        if unknown := requested - known.keys():
            label = min(unknown)
            parts = [part.strip() for part in label.split(",")]
            advice = f" Name {' and '.join(map(repr, parts))} separately." if len(parts) > 1 and set(parts) <= known.keys() else ""
            advice = advice or did_you_mean(label[:80], known)
            raise UnknownLabel(f"this model has no class {label[:80]!r}.{advice} Its classes are {join_names(known)}.")
        return frozenset(known[label] for label in requested)


def _check_options(score_threshold: ScoreThreshold, iou_threshold: float, max_detections: int | None) -> None:
    for name, value in (("confidence", score_threshold), ("IoU", iou_threshold)):
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "fiu" or not np.all((numbers >= 0) & (numbers <= 1)):
            raise SettingError(f"the {name} threshold must be a number from 0 to 1, got {value!r}.")
    if max_detections is not None and max_detections < 1:
        raise SettingError(f"max_detections must be at least 1, got {max_detections}.")
