"""The stages of one image that run in worker threads: decoding and resizing before the network, selecting and drawing after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from PIL import Image

from detector.boxes.grid import Logits
from detector.boxes.placement import ImageArray, Pixels
from detector.detector import Detector, PreparedImage
from detector.imaging.draw import draw_limited, drawn_size
from detector.imaging.encode import encode_image
from detector.imaging.formats.image_file import ImageFile
from detector.imaging.image import DecodedImage, decode_file, read_headers
from service.inference.decoder_process import Cancellation, DecodeTask, decode_in_process
from service.inference.image_memory import ImageMemory, is_heavy, needed_bytes
from service.inference.types import InferenceOptions, InferenceResult

ImageInput = bytes | ImageArray  # The content of an image file, or a decoded image.

MAX_KEPT_PIXELS = 16_000_000
"""Largest image that stays in memory, at four bytes per pixel, until its boxes are drawn. A larger image is decoded again."""


class StageTimes:
    """Seconds by stage of one image."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = perf_counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Measure the block as a stage."""
        started = perf_counter()
        yield
        self.add(stage, perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Record the duration of a stage."""
        self.seconds[stage] = seconds

    def finish(self, stage: str) -> None:
        """End a stage that started when this object was created."""
        self.add(stage, perf_counter() - self._started)

    def milliseconds(self, *stages: str) -> dict[str, float]:
        """Return the milliseconds of these stages, and "total" since this object was created."""
        seconds = {stage: self.seconds[stage] for stage in stages} | {"total": perf_counter() - self._started}
        return {stage: round(1000 * value, 2) for stage, value in seconds.items()}


class DecodedInput(NamedTuple):
    """An image that is prepared for the network, and the image on which its boxes are drawn later."""

    prepared: PreparedImage
    source: DecodedImage | ImageFile | None  # None: nothing is drawn. ImageFile: the file is decoded again for drawing


@dataclass
class ImageJob:
    """The stages of one image that run in worker threads."""

    source: ImageInput
    detector: Detector
    options: InferenceOptions
    max_pixels: int
    memory: ImageMemory
    times: StageTimes = field(default_factory=StageTimes)
    file: ImageFile | None = None  # the headers, once they have been read
    cancellation: Cancellation = field(default_factory=Cancellation)

    def decode(self, submit: Callable[[Pixels], None], *, large: bool) -> DecodedInput | None:
        """Decode and resize, then submit the pixels from this thread, because the event loop may be busy.

        Args:
            submit: Passes the pixels to the network.
            large: Whether the memory for a large image is reserved.

        Returns:
            The prepared image. None if it needs the memory for a large image, which is not reserved.

        Raises:
            ImageError: The image cannot be read, or it needs more memory than a large image gets.
        """
        if isinstance(self.source, bytes):
            decoded = self._decode_file(self.source, large=large)
            if decoded is None:
                return None
        else:
            self.times.add("decode", 0.0)
            with self.times.measure("prepare"):
                image = DecodedImage(Image.fromarray(self.source), self.source.shape[1], self.source.shape[0])
                decoded = DecodedInput(self.detector.preprocess(image), image if self.options.draw else None)
        submit(decoded.prepared.pixels)
        return decoded

    def _decode_file(self, image_bytes: bytes, *, large: bool) -> DecodedInput | None:
        draw, min_side = self.options.draw is not None, self.detector.min_decode_side
        with self.times.measure("decode"):
            file = self.file = self.file or read_headers(image_bytes, max_pixels=self.max_pixels)
            needed = needed_bytes(file, min_side, draw=draw)
            if not large and not self.memory.is_small(file, needed, self.options.draw):
                self.memory.check_large(file, needed)
                return None
            if is_heavy(file, needed):
                self.times.add("prepare", 0.0)  # part of the decoding in the other process
                return DecodedInput(*decode_in_process(DecodeTask(file, self.detector.spec, min_side, draw, needed), self.cancellation))
            image = decode_file(file, min_side)
        with self.times.measure("prepare"):
            keep = image.is_full_size and image.width * image.height <= MAX_KEPT_PIXELS
            return DecodedInput(self.detector.preprocess(image), (image if keep else file) if draw else None)

    def postprocess(self, logits: Logits, decoded: DecodedInput) -> InferenceResult:
        """Select the detections and draw them if the options require it."""
        options, placement, annotated, scale = self.options, decoded.prepared.placement, None, 1.0
        with self.times.measure("select"):
            detections = self.detector.postprocess(
                logits,
                decoded.prepared,
                score_threshold=options.score_threshold,
                iou_threshold=options.iou_threshold,
                class_ids=options.class_ids,
                max_detections=options.max_detections,
            )
        if options.draw and decoded.source is not None:
            with self.times.measure("draw"):
                drawn = draw_limited(_image_to_draw(decoded.source), detections, self.detector.spec.labels)
                annotated, scale = encode_image(drawn.image, options.draw), drawn.scale
        times = self.times.milliseconds("decode", "prepare", "network", "select")
        return InferenceResult(placement.width, placement.height, detections, annotated, times, scale)


def _image_to_draw(source: DecodedImage | ImageFile) -> DecodedImage:
    """Return the image at the size of the drawing, or larger."""
    return source if isinstance(source, DecodedImage) else decode_file(source, min(drawn_size(*source.size)))
