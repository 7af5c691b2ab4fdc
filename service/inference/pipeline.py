"""The stages of an image: bytes -> image -> placement -> pixels -> network -> logits -> grid, NMS -> detections.

Decoding, resizing, post-processing and drawing run in worker threads (`image_job`), the network in the threads of its model
(`executor`). The event loop only waits.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from weakref import WeakKeyDictionary

from detector.engines.cores import usable_cores
from detector.errors import ImageError
from service.errors import DeadlineMissed, Overloaded
from service.inference.admission_queue import AdmissionQueue
from service.inference.executor import BatchingOptions, InferenceExecutor, NetworkOutput
from service.inference.image_job import ImageInput, ImageJob
from service.inference.image_memory import ImageMemory
from service.inference.types import InferenceOptions, InferenceResult
from service.models.loaded_model import LoadedModel
from service.observability.metrics import ServiceMetrics
from service.request.context import current_context
from service.settings import Settings

MAX_IMAGES_IN_PROGRESS = 4
"""Images of one request that are processed at the same time, so that one request does not fill the queue."""

MAX_WAITING_LARGE = MAX_IMAGES_IN_PROGRESS
LARGE_SECONDS = 4.0  # Estimate of the time per large image before the first one has been measured.


class InferencePipeline:
    """Detects objects in images, with a bounded queue and deadlines. An application has one."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics, cores: int | None = None) -> None:
        """Create the pipeline. `cores` defaults to the number of cores that the process may use."""
        all_cores = usable_cores()
        cores = cores or all_cores
        self._settings = settings
        self._metrics = metrics
        self._workers = ThreadPoolExecutor(cores + 1, thread_name_prefix="image")
        self._batching = BatchingOptions(settings.batch_size, settings.batch_wait_ms / 1000)
        self._executors: WeakKeyDictionary[LoadedModel, InferenceExecutor] = WeakKeyDictionary()
        # Slots for the images in the worker threads and for the images that are ready for the next calls of the network.
        slots = 2 * cores + settings.batch_size
        self._memory = ImageMemory.of(settings, slots=slots, cores=cores, all_cores=all_cores)
        self.queue = AdmissionQueue(slots, settings.queue_size)
        self._large_queue = AdmissionQueue(self._memory.large_slots, MAX_WAITING_LARGE, unit="large image", seconds=LARGE_SECONDS)

    @property
    def waiting(self) -> int:
        """Number of images that wait for a slot."""
        return self.queue.waiting + self._large_queue.waiting

    @property
    def running(self) -> int:
        """Number of images that hold a slot."""
        return self.queue.running + self._large_queue.running

    async def detect(self, image: ImageInput, model: LoadedModel, options: InferenceOptions) -> InferenceResult:
        """Detect objects in one image.

        Args:
            image: The content of an image file, or an (H, W, 3) uint8 RGB array.
            model: The model to use.
            options: Which detections to return.

        Raises:
            ImageError: The bytes are not a readable image, or it needs too much memory.
            Overloaded: The queue or the memory budget is full, or a large image was not processed in time.
            DeadlineMissed: The deadline of the request has passed.
            ResponseTooLarge: The annotated images of the request exceed the byte limit.
        """
        job = ImageJob(image, model.detector, options, self._settings.max_pixels, self._memory)
        deadline = self._deadline()
        try:
            result = await self._process(job, model, self.queue, deadline)
            if result is None:
                result = await self._process_large(job, model, deadline)
        except Overloaded:
            self._metrics.rejected.labels("queue").inc()
            raise
        except DeadlineMissed:
            self._metrics.deadline_missed.inc()
            raise
        assert result is not None
        if result.annotated and (context := current_context()):
            context.reserve_response(len(result.annotated.data))
        self._metrics.record_result(model, result.detections, job.times.seconds)
        return result

    async def _process(self, job: ImageJob, model: LoadedModel, queue: AdmissionQueue, deadline: float) -> InferenceResult | None:
        """Run all stages of an image in a slot of the queue. Return None if the image is large and the queue is that of small images."""
        executor, output = self._executor_of(model), Future[NetworkOutput]()
        decode = partial(job.decode, lambda pixels: executor.submit(pixels, output), large=queue is self._large_queue)
        try:
            async with queue.slot(deadline) as slot:
                job.times.finish("queue")
                slot.on_abandon = job.cancellation.cancel
                decoded = await slot.run(self._workers, decode)
                if decoded is None:
                    slot.is_measured = False
                    return None
                network = await slot.wait(output)
                job.times.add("network", network.seconds)
                result = await slot.run(self._workers, job.postprocess, network.logits, decoded)
        finally:
            output.cancel()
        if network.is_first:
            self._metrics.batch_size.observe(network.batch_size)
        return result

    async def _process_large(self, job: ImageJob, model: LoadedModel, deadline: float) -> InferenceResult | None:
        """Run all stages of a large image. A missed deadline raises Overloaded, because few large images are processed at a time."""
        self._large_queue.check_deadline(deadline)
        try:
            return await self._process(job, model, self._large_queue, deadline)
        except DeadlineMissed as error:
            after = self._large_queue.retry_after()
            raise Overloaded(
                f"The large image was not processed in time. Try again in {after} s (Retry-After), or send fewer images.", after
            ) from error

    def _deadline(self) -> float:
        context, seconds = current_context(), self._settings.request_seconds
        return context.deadline(seconds) if context else asyncio.get_running_loop().time() + seconds

    def _executor_of(self, model: LoadedModel) -> InferenceExecutor:
        if model not in self._executors:
            self._executors[model] = InferenceExecutor.of(model, self._batching)
        return self._executors[model]


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
            raise result if len(images) == 1 else type(result)(f"image {number} of {len(images)}: {result}") from result
        results.append(result)
    return results
