"""Detection by a running service."""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self, overload

from boxwright.images import ImageList, ImageSource, to_bytes
from boxwright.results import Detections
from detector.errors import UnknownModel
from service.client.client import ServiceClient
from service.client.errors import RequestRejected
from service.schemas.detections import DetectResponse

IMAGE_PROBLEMS = {
    f"urn:boxwright:problem:{kind}" for kind in ("empty-image", "not-an-image", "damaged-image", "image-too-large", "body-too-large")
}
"""Kinds of problems that are about the image."""


class Client:
    """Sends images to a service that `boxwright serve` runs. Use it in one thread at a time; `with` closes its connection."""

    def __init__(self, url: str, *, model: str | None = None, api_key: str | None = None) -> None:
        """Create a client without connecting.

        Args:
            url: The service's address, such as "http://localhost:8000".
            model: The name of one of its models; None is its default model.
            api_key: The service's API key, if it requires one.

        Raises:
            BoxwrightError: The address or the key is not valid.
        """
        self._client = ServiceClient(url, api_key=api_key)
        self._model = model
        self._labels: dict[str, list[str]] = {}  # by model name, from the last request to GET /models

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.__exit__(kind, error, trace)

    @overload
    def detect(
        self,
        image: ImageSource,
        *,
        confidence: float | Literal["auto"] | None = ...,
        iou: float | None = ...,
        classes: str | Sequence[str] = ...,
    ) -> Detections: ...
    @overload
    def detect(
        self,
        image: ImageList,
        *,
        confidence: float | Literal["auto"] | None = ...,
        iou: float | None = ...,
        classes: str | Sequence[str] = ...,
    ) -> list[Detections]: ...
    def detect(
        self,
        image: ImageSource | ImageList,
        *,
        confidence: float | Literal["auto"] | None = None,
        iou: float | None = None,
        classes: str | Sequence[str] = (),
    ) -> Detections | list[Detections]:
        """Detect objects as `Detector.detect` does; an option that is None has the service's default.

        Raises:
            BoxwrightError: The service does not answer, or does not accept the image or an option.
            OSError: The file cannot be read.
        """
        if isinstance(image, list | tuple):
            return [self.detect(each, confidence=confidence, iou=iou, classes=classes) for each in image]
        image_bytes = to_bytes(image)
        labels = [classes] if isinstance(classes, str) and classes else classes or ()
        try:
            response = self._client.detect(image_bytes, model=self._model, confidence=confidence, iou=iou, classes=labels)
        except RequestRejected as error:
            if error.kind not in IMAGE_PROBLEMS or not isinstance(image, str | os.PathLike):
                raise
            raise RequestRejected(f"{os.fspath(image)}: {error}", error.status, error.kind) from error
        size = (response.image.width, response.image.height)
        return Detections.of(response.detections, response.model, size, self._labels_of(response), image_bytes)

    def _labels_of(self, response: DetectResponse) -> list[str]:
        """Return the labels of the model. Ask the service if its labels are not known, or have changed with a new version."""
        model, found = response.model, {each.label for each in response.detections}
        for refresh in (False, True):
            if refresh:
                self._labels = {each.name: each.labels for each in self._client.models()}
            if model in self._labels and found.issubset(self._labels[model]):
                return self._labels[model]
        raise UnknownModel(f"{self._client.display_url} no longer serves the model {model[:80]!r} that detected these objects.")
