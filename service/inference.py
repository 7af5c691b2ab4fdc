"""One photo through one model, without ever holding up the event loop.

Decoding, preparing, selecting and drawing run in worker threads beside the network. The network itself runs in its
model's one thread, so that photos are computed one after another, in the order in which they got ready.
"""

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from detector.detections import Detections
from detector.detector import DEFAULT_IOU, DEFAULT_SCORE, Prepared
from detector.draw import draw_detections
from detector.engines.cores import usable_cores
from detector.grid import Raw
from detector.image import MAX_PIXELS, read_reduced
from detector.placement import Picture
from service.annotated import EncodedPhoto, MediaType, encode
from service.registry import LoadedModel
from service.timing import Stopwatch

MAX_DETECTIONS = 100


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
    """Runs photos through models. Make one for each application."""

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        workers = usable_cores() + 1
        self._max_pixels = max_pixels
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="photo")
        # Decoding takes up to 12 bytes a pixel for a while, 750 MB at the most: the other photos wait as they came.
        self._places = asyncio.Semaphore(workers)

    async def detect(self, photo: bytes, model: LoadedModel, options: Options) -> Answer:
        """Raises ImageError for a photo that cannot be used."""
        run = asyncio.get_running_loop().run_in_executor
        job = _Job(model, options)
        async with self._places:
            prepared, picture = await run(self._workers, job.read, photo, self._max_pixels)
            raw = await run(model.turns, job.compute, prepared)
            return await run(self._workers, job.finish, picture, prepared, raw)


class _Job:
    """The three steps of one request, each in the thread that suits it."""

    def __init__(self, model: LoadedModel, options: Options) -> None:
        self.detector, self.options, self.watch = model.detector, options, Stopwatch()

    def read(self, photo: bytes, max_pixels: int) -> tuple[Prepared, Picture]:
        enough = None if self.options.draw else self.detector.enough  # what is drawn upon is the whole photo
        with self.watch.stage("decode"):
            reduced = read_reduced(photo, enough, max_pixels=max_pixels)
        with self.watch.stage("prepare"):
            return self.detector.prepare(reduced), reduced.picture

    def compute(self, prepared: Prepared) -> Raw:
        with self.watch.stage("network"):
            raw: Raw = self.detector.network(prepared.pixels[None])[0]
        return raw

    def finish(self, picture: Picture, prepared: Prepared, raw: Raw) -> Answer:
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
        annotated = encode(draw_detections(picture, found, self.detector.spec.labels), options.draw) if options.draw else None
        placement = prepared.placement
        return Answer(placement.width, placement.height, found, annotated, self.watch.read())
