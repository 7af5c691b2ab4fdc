"""One photo through one model, without ever holding up the event loop.

Decoding, preparing, selecting and drawing run in worker threads beside the network. The network itself runs in its
model's own threads (`turns`), in the order in which photos got ready.
"""

import asyncio
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from detector.detections import Detections
from detector.detector import DEFAULT_IOU, DEFAULT_SCORE, PreparedImage
from detector.engines import ParallelEngine
from detector.engines.cores import usable_cores
from detector.grid import Logits
from detector.imaging.draw import draw_detections
from detector.imaging.encode import EncodedPhoto, MediaType, encode
from detector.imaging.image import read_image, read_reduced
from detector.placement import ImageArray
from service.errors import DeadlineMissed, Overloaded
from service.inference.admission_queue import Job, Scheduler
from service.inference.executor import Batching, Computed, Turns
from service.inference.timing import Stopwatch
from service.models.registry import LoadedModel
from service.observability.metrics import Metrics
from service.request.context import current_context
from service.settings import Settings

MAX_DETECTIONS = 100
KEPT_PIXELS = 16_000_000
"""Of a photo that is to be drawn upon: up to so many its picture, three bytes each, waits with it; a larger one is decoded once more."""


@dataclass(frozen=True)
class Options:
    """What a request asks of its photo."""

    score_threshold: float = DEFAULT_SCORE
    iou_threshold: float = DEFAULT_IOU
    class_ids: Collection[int] | None = None
    max_detections: int = MAX_DETECTIONS
    draw: MediaType | None = None  # the annotated photo is wanted too, as a file of this type


@dataclass(frozen=True)
class Answer:
    """What there is in a photo of `width` x `height` pixels, and where the time went (milliseconds by stage)."""

    width: int
    height: int
    detections: Detections
    annotated: EncodedPhoto | None
    timing_ms: dict[str, float]


class Inference:
    """Runs photos through models. Make one for each application. cores: that are there for it; None: all that this process may use."""

    def __init__(self, settings: Settings, metrics: Metrics, cores: int | None = None) -> None:
        cores = cores or usable_cores()
        self._settings = settings
        self._metrics = metrics
        # Decoding takes up to 12 bytes a pixel for a while, 750 MB at the most: so many photos are decoded at a time, in these threads.
        self._workers = ThreadPoolExecutor(cores + 1, thread_name_prefix="photo")
        self._batching = Batching(settings.batch_size, settings.batch_wait_ms / 1000)
        self._turns: WeakKeyDictionary[LoadedModel, Turns] = WeakKeyDictionary()
        # Places for what is in those threads, and for as many photos as the network takes next: ready, and small by then.
        self.scheduler: Scheduler[Answer] = Scheduler(2 * cores + settings.batch_size, settings.queue_size)

    async def detect(self, photo: bytes | ImageArray, model: LoadedModel, options: Options) -> Answer:
        """Raises ImageError for a photo that cannot be used, Overloaded where too many wait, DeadlineMissed where it takes too long."""
        steps = _Steps(photo, self._settings.max_pixels, model, options)
        call, seconds = current_context(), self._settings.request_seconds
        deadline = call.deadline(seconds) if call else asyncio.get_running_loop().time() + seconds
        try:
            answer = await self.scheduler.run(partial(self._work, model, steps), deadline)
        except Overloaded:
            self._metrics.rejected.labels("queue").inc()
            raise
        except DeadlineMissed:
            self._metrics.deadline_missed.inc()
            raise
        if call and answer.annotated:
            call.reserve_response(len(answer.annotated.data))
        self._metrics.answered(model, answer.detections, steps.watch.seconds)
        return answer

    async def _work(self, model: LoadedModel, steps: "_Steps", job: Job[Answer]) -> Answer:
        steps.watch.note_so_far("queue")
        turns = self._turns_of(model)

        def read() -> tuple[PreparedImage, ImageArray | None, Future[Computed]]:
            prepared, picture = steps.read()
            return prepared, picture, turns.submit(prepared.pixels, lambda: job.dropped)  # from here: the event loop may be busy

        prepared, picture, computing = await job.stage(self._workers, read)
        computed = await asyncio.wrap_future(computing)
        steps.watch.note("network", computed.seconds)
        if computed.first:
            self._metrics.batch_size.observe(computed.batch)
        return await job.stage(self._workers, steps.finish, picture, prepared, computed.raw)

    def _turns_of(self, model: LoadedModel) -> Turns:
        if model not in self._turns:
            engine = model.detector.engine
            beside = engine.beside if isinstance(engine, ParallelEngine) else None
            self._turns[model] = Turns(model.detector.network, model.lanes, self._batching, beside)
        return self._turns[model]


class _Steps:
    """What is done for one request in worker threads."""

    def __init__(self, photo: bytes | ImageArray, max_pixels: int, model: LoadedModel, options: Options) -> None:
        self.photo, self.max_pixels = photo, max_pixels
        self.detector, self.options, self.watch = model.detector, options, Stopwatch()

    def read(self) -> tuple[PreparedImage, ImageArray | None]:
        """What the network is shown, the same whatever is asked for; and the whole picture where it is to be drawn upon and can be kept."""
        if not isinstance(self.photo, bytes):
            self.watch.note("decode", 0.0)
            with self.watch.stage("prepare"):
                return self.detector.prepare(self.photo), self.photo
        with self.watch.stage("decode"):
            reduced = read_reduced(self.photo, self.detector.enough, max_pixels=self.max_pixels)
        with self.watch.stage("prepare"):
            kept = self.options.draw and reduced.whole and reduced.width * reduced.height <= KEPT_PIXELS
            return self.detector.prepare(reduced), reduced.picture if kept else None

    def finish(self, picture: ImageArray | None, prepared: PreparedImage, raw: Logits) -> Answer:
        options = self.options
        with self.watch.stage("select"):
            found = self.detector.select(
                raw,
                prepared,
                score_threshold=options.score_threshold,
                iou_threshold=options.iou_threshold,
                class_ids=options.class_ids,
                max_detections=options.max_detections,
            )
        annotated = self._drawn(picture, found, options.draw) if options.draw else None
        placement, times = prepared.placement, self.watch.read("decode", "prepare", "network", "select")
        return Answer(placement.width, placement.height, found, annotated, times)

    def _drawn(self, kept: ImageArray | None, found: Detections, wanted: MediaType) -> EncodedPhoto:
        with self.watch.stage("draw"):
            picture = kept
            if picture is None:
                assert isinstance(self.photo, bytes)
                picture = read_image(self.photo, max_pixels=self.max_pixels)
            return encode(draw_detections(picture, found, self.detector.spec.labels), wanted)
