"""Detection with a model in this process."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from boxwright.images import ImageList, ImageSource, name_file_in_errors, to_bytes_or_array
from boxwright.results import Detections
from detector.detector import DEFAULT_IOU, DEFAULT_SCORE
from detector.detector import Detector as CoreDetector
from detector.engines.support import Device
from detector.errors import SettingError
from detector.imaging.image import decode_image
from service.schemas.detections import Detection
from weights.engines.factory import prepare_engine
from weights.engines.options import EngineKind, EngineOptions, PrecisionChoice
from weights.formats.provenance import class_confidence


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    engine: EngineKind = "auto",
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    input_size: int | None = None,
) -> "Detector":
    """Load a model.

    Args:
        model: A name that `boxwright weights list` shows, or the path of a .safetensors file. None is the default model. A model of
            the catalogue is downloaded at its first use.
        engine: The library that runs the network. "auto" is the fastest that `boxwright serve` measured on this machine, else onnxruntime.
        device: The device that runs the network: "auto", "cpu", "gpu", or another name that `boxwright detect --help` lists.
        precision: "float32", "bfloat16" or "int8". "auto" is the fastest on this machine that loses at most half a point of AP50.
        input_size: Side of the network's input in pixels, a multiple of 32. None is the model's own.

    Returns:
        A detector that is ready to use. Several threads may share it.

    Raises:
        BoxwrightError: There is no such model, it cannot be downloaded or read, or it does not suit the options.
    """
    options = EngineOptions(engine, device, precision, input_size)
    ready = prepare_engine(None if model is None else os.fspath(model), options, raced=True)
    ready.persist()  # writes the engine to the disk cache, so that the next load is faster
    suggested = class_confidence(ready.facts.provenance, ready.facts.spec.labels)
    return Detector(ready.facts.name, CoreDetector(ready.facts.spec, ready.engine), suggested)


@dataclass(frozen=True)
class Detector:
    """A loaded model. `load` creates it."""

    name: str
    core: CoreDetector = field(repr=False)
    _class_confidence: NDArray[np.float32] = field(repr=False, compare=False)  # (C,): the threshold of each class for "auto"

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that the model can detect."""
        return self.core.spec.labels

    @property
    def engine(self) -> str:
        """The library that runs the network, such as "onnxruntime"."""
        return self.core.engine.name

    @property
    def precision(self) -> str:
        """The precision in which the network computes: "float32", "bfloat16" or "int8"."""
        return self.core.engine.precision

    @overload
    def detect(
        self, image: ImageSource, *, confidence: float | Literal["auto"] = ..., iou: float = ..., classes: str | Sequence[str] = ...
    ) -> Detections: ...
    @overload
    def detect(
        self, image: ImageList, *, confidence: float | Literal["auto"] = ..., iou: float = ..., classes: str | Sequence[str] = ...
    ) -> list[Detections]: ...
    def detect(
        self,
        image: ImageSource | ImageList,
        *,
        confidence: float | Literal["auto"] = DEFAULT_SCORE,
        iou: float = DEFAULT_IOU,
        classes: str | Sequence[str] = (),
    ) -> Detections | list[Detections]:
        """Detect objects in an image, or in each image of a list.

        Args:
            image: A path, the bytes of an image file, a binary file object, a PIL image, a (H, W, 3) uint8 RGB array, or a list.
            confidence: Drop boxes with this score or a lower one. "auto" is the score that the model suggests for each class.
            iou: Drop a box that overlaps a better one of its class by more than this IoU.
            classes: Detect only this label or these labels; all if empty.

        Returns:
            The result for the image; a list of results for a list.

        Raises:
            BoxwrightError: The image is not valid, an option is out of range, or the model has no such label.
            OSError: The file cannot be read.
        """
        if confidence != "auto" and not isinstance(confidence, Real):
            raise SettingError(f"the confidence threshold must be a number from 0 to 1, or 'auto', got {confidence!r}.")
        if isinstance(image, list | tuple):
            return [self.detect(each, confidence=confidence, iou=iou, classes=classes) for each in image]
        source = to_bytes_or_array(image)
        with name_file_in_errors(image):
            pixels = decode_image(source, self.core.min_decode_side) if isinstance(source, bytes) else source
        size = (pixels.width, pixels.height) if not isinstance(pixels, np.ndarray) else (pixels.shape[1], pixels.shape[0])
        class_ids = self.core.class_ids([classes] if isinstance(classes, str) else classes) if classes else None
        threshold = self._class_confidence if confidence == "auto" else confidence
        found = self.core.detect(pixels, score_threshold=threshold, iou_threshold=iou, class_ids=class_ids)
        return Detections.of(Detection.from_detections(found, self.labels), self.name, size, self.labels, source)
