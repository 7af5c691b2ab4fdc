"""Run a model's network in its thread pool.

A lone image uses all cores; several images share them (`core_allocator`). onnxruntime fixes the number of threads per session.
Therefore a call with one core runs in a single-threaded session. Calls with more cores share the threads of the multi-threaded session.
See docs/decisions/0013.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np

from detector.boxes.grid import Logits
from detector.boxes.placement import Pixels
from detector.engines import ConcurrentEngine
from service.inference.core_allocator import CoreAllocator
from service.models.loaded_model import LoadedModel


class NetworkOutput(NamedTuple):
    """The logits (G, G, A, 5 + C) of one image, and facts about the batch that it was in."""

    logits: Logits
    seconds: float  # duration of the batch
    batch_size: int
    is_first: bool  # whether it is the first image of the batch


@dataclass(frozen=True)
class BatchingOptions:
    """Up to `max_size` images per call. The first image of a batch waits up to `max_wait` seconds for the others."""

    max_size: int = 1
    max_wait: float = 0.0


class _Request(NamedTuple):
    pixels: Pixels  # (S, S, 3)
    output: "Future[NetworkOutput]"


class InferenceExecutor:
    """Queue images for one network and call it in the threads of `thread_pool`."""

    def __init__(
        self,
        network: Callable[[Pixels], Logits],
        thread_pool: ThreadPoolExecutor,
        batching: BatchingOptions,
        *,
        single_threaded: Callable[[Pixels], Logits] | None = None,
        cores: int = 1,
        max_concurrency: int = 1,
    ) -> None:
        """Create an executor.

        Args:
            network: (N, S, S, 3) -> logits, with all cores.
            thread_pool: At least `max_concurrency` threads.
            batching: With a batch size above 1, calls are sequential.
            single_threaded: The same network for parallel calls with one core each. None: calls are sequential.
            cores: Threads of `network`.
            max_concurrency: Largest number of parallel calls.
        """
        parallel_network = single_threaded if batching.max_size == 1 else None
        self._network = network
        self._single_threaded = parallel_network if parallel_network is not None and cores > 1 else network
        self._thread_pool = thread_pool
        self._batching = batching
        self._waiting: deque[_Request] = deque()
        self._cores = CoreAllocator(cores, max_concurrency) if parallel_network else CoreAllocator(1, 1)
        self._changed = threading.Condition()  # guards _waiting and _cores

    @classmethod
    def of(cls, model: LoadedModel, batching: BatchingOptions) -> "InferenceExecutor":
        """Create the executor of a loaded model."""
        engine = model.detector.engine
        return cls(
            model.detector.forward,
            model.thread_pool,
            batching,
            single_threaded=engine.run_concurrently if isinstance(engine, ConcurrentEngine) else None,
            cores=model.cores,
            max_concurrency=model.max_concurrency,
        )

    def submit(self, pixels: Pixels, output: "Future[NetworkOutput]") -> None:
        """Queue one image. `output` receives its result or error; cancelling it before its call starts removes the image.

        Args:
            pixels: (S, S, 3) float32, 0..255.
            output: A pending future.
        """
        with self._changed:
            self._waiting.append(_Request(pixels, output))
            self._cores.arrive(self._count_waiting())
            self._changed.notify_all()
        self._thread_pool.submit(self._run_next)

    def _count_waiting(self) -> int:
        return sum(not request.output.cancelled() for request in self._waiting)

    def _run_next(self) -> None:
        """Call the network once. Each image schedules one call; if an earlier batch contained the image, its call finds nothing to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._cores.can_start)
            cores = self._cores.start(self._count_waiting())
            requests = self._take_batch()
        network = self._single_threaded if cores == 1 else self._network
        try:
            active = [request for request in requests if request.output.set_running_or_notify_cancel()]
            if active and not self._compute(active, network):
                for request in active:  # the failure of one image must not fail the others
                    self._compute([request], network)
        finally:
            with self._changed:
                self._cores.finish(cores)
                self._changed.notify_all()

    def _take_batch(self) -> list[_Request]:
        size = self._batching.max_size
        if self._waiting and size > 1:
            self._changed.wait_for(lambda: len(self._waiting) >= size, self._batching.max_wait)
        return [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]

    def _compute(self, requests: Sequence[_Request], network: Callable[[Pixels], Logits]) -> bool:
        """Run the network and set the outputs. If a batch of several images fails, return False without setting any output."""
        started = perf_counter()
        try:
            pixels = [request.pixels for request in requests]
            logits = network(pixels[0][None] if len(pixels) == 1 else np.stack(pixels))
        except Exception as error:  # noqa: BLE001  # re-raised by the future
            if len(requests) > 1:
                return False
            requests[0].output.set_exception(error)
            return True
        seconds = perf_counter() - started
        for request, logits_of_image in zip(requests, logits, strict=True):
            request.output.set_result(NetworkOutput(logits_of_image, seconds, len(requests), request is requests[0]))
        return True
