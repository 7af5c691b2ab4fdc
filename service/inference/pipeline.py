"""The path of an image: bytes -> image -> placement -> pixels -> network -> logits -> grid, NMS -> detections.

Decoding, resizing, post-processing and drawing run in worker threads, the network in the threads of its model (`executor`).
The event loop only waits.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple
from weakref import WeakKeyDictionary

from PIL import Image

from detector.detector import Detector, PreparedImage
from detector.engines.cores import usable_cores
from detector.errors import ImageError
from detector.grid import Logits
from detector.imaging.draw import draw_limited, drawn_size
from detector.imaging.encode import encode_image
from detector.imaging.image import DecodedImage, decode_image
from detector.placement import ImageArray, Pixels
from service.errors import DeadlineMissed, Overloaded
from service.inference.admission_queue import AdmissionQueue
from service.inference.executor import BatchingOptions, InferenceExecutor, NetworkOutput
from service.inference.types import InferenceOptions, InferenceResult
from service.models.loaded_model import LoadedModel
from service.observability.metrics import ServiceMetrics
from service.request.context import current_context
from service.settings import Settings

ImageInput = bytes | ImageArray
"""The content of an image file, or a decoded image."""

MAX_KEPT_PIXELS = 16_000_000
"""Largest image that stays in memory, at three bytes per pixel, until it is drawn on. A larger image is decoded again."""

MAX_IMAGES_IN_PROGRESS = 4
"""Images of one request that are processed at the same time, so that one request does not fill the queue."""


class InferencePipeline:
    """Detects objects in images, with a bounded queue and deadlines. An application has one."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics, cores: int | None = None) -> None:
        """Create the pipeline. `cores` defaults to those that the process may use."""
        cores = cores or usable_cores()
        self._settings = settings
        self._metrics = metrics
        # Decoding takes up to 12 bytes per pixel, 750 MB for the largest image. The number of threads bounds the total.
        self._workers = ThreadPoolExecutor(cores + 1, thread_name_prefix="image")
        self._batching = BatchingOptions(settings.batch_size, settings.batch_wait_ms / 1000)
        self._executors: WeakKeyDictionary[LoadedModel, InferenceExecutor] = WeakKeyDictionary()
        # Slots for the images in those threads and for the images that are ready for the next calls of the network.
        self.queue = AdmissionQueue(2 * cores + settings.batch_size, settings.queue_size)

    async def detect(self, image: ImageInput, model: LoadedModel, options: InferenceOptions) -> InferenceResult:
        """Detect objects in one image.

        Args:
            image: The content of an image file, or an (H, W, 3) uint8 RGB array.
            model: The model to use.
            options: Which detections to return.

        Raises:
            ImageError: The bytes are not a readable image.
            Overloaded: The queue is full.
            DeadlineMissed: The deadline of the request has passed.
        """
        job = _Job(image, model.detector, options, self._settings.max_pixels)
        executor = self._executor_of(model)
        output: Future[NetworkOutput] = Future()
        try:
            async with self.queue.slot(self._deadline()) as slot:
                job.times.finish("queue")
                decoded = await slot.run(self._workers, job.decode, lambda pixels: executor.submit(pixels, output))
                network = await slot.wait(output)
                job.times.add("network", network.seconds)
                result = await slot.run(self._workers, job.postprocess, network.logits, decoded)
        except Overloaded:
            self._metrics.rejected.labels("queue").inc()
            raise
        except DeadlineMissed:
            self._metrics.deadline_missed.inc()
            raise
        finally:
            output.cancel()
        if network.is_first:
            self._metrics.batch_size.observe(network.batch_size)
        if result.annotated and (context := current_context()):
            context.reserve_response(len(result.annotated.data))
        self._metrics.record_result(model, result.detections, job.times.seconds)
        return result

    def _deadline(self) -> float:
        call, seconds = current_context(), self._settings.request_seconds
        return call.deadline(seconds) if call else asyncio.get_running_loop().time() + seconds

    def _executor_of(self, model: LoadedModel) -> InferenceExecutor:
        if model not in self._executors:
            self._executors[model] = InferenceExecutor.of(model, self._batching)
        return self._executors[model]


class _StageTimes:
    """Seconds by stage of one request."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = perf_counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.add(stage, perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = seconds

    def finish(self, stage: str) -> None:
        """End a stage that started with the request."""
        self.add(stage, perf_counter() - self._started)

    def milliseconds(self, *stages: str) -> dict[str, float]:
        """Return the milliseconds of these stages, and "total" since the start of the request."""
        seconds = {stage: self.seconds[stage] for stage in stages} | {"total": perf_counter() - self._started}
        return {stage: round(1000 * value, 2) for stage, value in seconds.items()}


class _Decoded(NamedTuple):
    prepared: PreparedImage
    image: ImageInput  # for drawing: the decoded image at full size, or the file if that is too large to keep


@dataclass
class _Job:
    """The stages of one image that run in worker threads."""

    source: ImageInput
    detector: Detector
    options: InferenceOptions
    max_pixels: int
    times: _StageTimes = field(default_factory=_StageTimes)

    def decode(self, submit: Callable[[Pixels], None]) -> _Decoded:
        """Decode and resize, then submit the pixels from this thread, because the event loop may be busy."""
        if isinstance(self.source, bytes):
            decoded = self._decode_file(self.source)
        else:
            self.times.add("decode", 0.0)
            with self.times.measure("prepare"):
                decoded = _Decoded(self.detector.preprocess(self.source), self.source)
        submit(decoded.prepared.pixels)
        return decoded

    def _decode_file(self, image_bytes: bytes) -> _Decoded:
        with self.times.measure("decode"):
            reduced = decode_image(image_bytes, self.detector.min_decode_side, max_pixels=self.max_pixels)
        with self.times.measure("prepare"):
            keep = self.options.draw and reduced.is_full_size and reduced.width * reduced.height <= MAX_KEPT_PIXELS
            return _Decoded(self.detector.preprocess(reduced), reduced.array if keep else image_bytes)

    def postprocess(self, logits: Logits, decoded: _Decoded) -> InferenceResult:
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
        if options.draw:
            with self.times.measure("draw"):
                drawn = draw_limited(self._image_to_draw(decoded), detections, self.detector.spec.labels)
                annotated, scale = encode_image(drawn.image, options.draw), drawn.scale
        times = self.times.milliseconds("decode", "prepare", "network", "select")
        return InferenceResult(placement.width, placement.height, detections, annotated, times, scale)

    def _image_to_draw(self, decoded: _Decoded) -> DecodedImage:
        """Return the image at the size that is drawn, or larger."""
        width, height = decoded.prepared.placement.width, decoded.prepared.placement.height
        if isinstance(decoded.image, bytes):
            return decode_image(decoded.image, min(drawn_size(width, height)), max_pixels=self.max_pixels)
        return DecodedImage(Image.fromarray(decoded.image), width, height)


async def detect_each(
    pipeline: InferencePipeline, images: Sequence[ImageInput], model: LoadedModel, options: InferenceOptions
) -> list[InferenceResult | ImageError]:
    """Detect objects in each image; return the results and image errors in order. Any other error cancels all images."""
    limit = asyncio.Semaphore(MAX_IMAGES_IN_PROGRESS)

    async def detect(image: ImageInput) -> InferenceResult | ImageError:
        async with limit:
            try:
                return await pipeline.detect(image, model, options)
            except ImageError as error:
                return error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(detect(image)) for image in images]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def detect_all(
    pipeline: InferencePipeline, images: Sequence[ImageInput], model: LoadedModel, options: InferenceOptions
) -> list[InferenceResult]:
    """Detect objects in all images, for protocols that have no result per image. Raises the first ImageError."""
    results = []
    for number, result in enumerate(await detect_each(pipeline, images, model, options), 1):
        if isinstance(result, ImageError):
            raise result if len(images) == 1 else type(result)(f"photo {number} of {len(images)}: {result}") from result
        results.append(result)
    return results
