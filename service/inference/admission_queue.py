"""Bounded admission queue with deadlines.

A job waits in the queue until a slot is free, first come, first served. A full queue refuses further jobs at once and states
when to retry. A job that misses its deadline, or that the client abandons, starts no further stage.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from math import ceil
from typing import Any, ParamSpec, TypeVar

from detector.errors import BoxwrightError
from detector.messages import count_of
from service.errors import DeadlineMissed, Overloaded

logger = logging.getLogger("boxwright.service")

_Result = TypeVar("_Result")
_Params = ParamSpec("_Params")

INITIAL_SERVICE_SECONDS = 0.1  # Estimate before the first job has been measured.

AVERAGED_JOBS = 16  # Approximate number of recent jobs in the moving average.


class ServiceTimeEstimate:
    """Moving average of the seconds between two finished jobs while the service is busy.

    Several jobs run at the same time, so the duration of one job exceeds the delay that it causes for the others. While jobs
    are waiting, the interval between two finished jobs is that delay. After a pause it is counted from the job's arrival.
    """

    def __init__(self, seconds: float = INITIAL_SERVICE_SECONDS) -> None:
        self.seconds = seconds
        self._count = 0
        self._last_finished = 0.0

    def add(self, entered: float, finished: float, *, abandoned: bool = False) -> None:
        """Count one job.

        Args:
            entered: When the job entered the queue, as time of the event loop.
            finished: When its last stage ended.
            abandoned: The job missed its deadline or its client disconnected. Its time is a lower bound, so it can only raise the average.
        """
        interval = finished - max(entered, self._last_finished)
        if abandoned and interval <= self.seconds:
            return
        self._count = min(self._count + 1, AVERAGED_JOBS)
        self.seconds += (interval - self.seconds) / self._count
        self._last_finished = finished


class Slot:
    """Permission to work on one job. Its stages run in threads, one after the other."""

    def __init__(self) -> None:
        self.stage: Future[Any] | None = None  # the latest
        self.is_measured = True  # whether the job's time counts in the average
        self.on_abandon: Callable[[], None] = lambda: None  # called if the job is cancelled while a stage runs, to end the stage early

    async def run(self, pool: Executor, function: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        """Run a stage in a thread of the pool."""
        return await self.wait(pool.submit(function, *args, **kwargs))

    async def wait(self, stage: "Future[_Result]") -> _Result:
        """Wait for a stage. If the job is cancelled before the stage has started, the stage never starts."""
        self.stage = stage
        return await asyncio.wrap_future(stage)


class AdmissionQueue:
    """At most `max_concurrency` jobs hold a slot and at most `queue_size` jobs wait. Use it from one event loop at a time."""

    def __init__(self, max_concurrency: int, queue_size: int, *, unit: str = "image", seconds: float = INITIAL_SERVICE_SECONDS) -> None:
        """Create an empty queue.

        Args:
            max_concurrency: Number of slots.
            queue_size: Maximum number of jobs without a slot.
            unit: What a job is, for messages.
            seconds: Estimated time of a job before the first one has been measured.
        """
        self.max_concurrency = max_concurrency
        self.running = 0  # jobs that hold a slot
        self.service_time = ServiceTimeEstimate(seconds)
        self._queue_size = queue_size
        self._unit = unit
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Number of jobs without a slot."""
        return len(self._waiters)

    def check_capacity(self) -> None:
        """Raise Overloaded if the queue is full."""
        if self.waiting >= self._queue_size and self.running >= self.max_concurrency:
            after = self.retry_after()
            raise Overloaded(
                f"The queue is full ({count_of(self.waiting, self._unit)} waiting). Try again in {after} s (Retry-After).", after
            )

    def check_deadline(self, deadline: float) -> None:
        """Raise Overloaded if the present jobs are not expected to finish before `deadline`, a time of the event loop."""
        if asyncio.get_running_loop().time() + self._remaining_seconds() > deadline:
            after = self.retry_after()
            raise Overloaded(
                f"The queue ({count_of(self.waiting + self.running, self._unit)}) takes about {after} s. Try again then (Retry-After).",
                after,
            )

    def retry_after(self) -> int:
        """Estimate the whole seconds until all present jobs are finished; at least 1."""
        return max(1, ceil(self._remaining_seconds()))

    def _remaining_seconds(self) -> float:
        return (self.waiting + self.running) * self.service_time.seconds

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[Slot]:
        """Wait for a slot and hold it for the `async with` block, which is cancelled at the deadline.

        A stage that runs in a thread cannot be interrupted. It keeps the slot until it ends.

        Args:
            deadline: Time of the event loop.

        Raises:
            Overloaded: The queue is full.
            DeadlineMissed: The deadline has passed.
        """
        self.check_capacity()
        loop = asyncio.get_running_loop()
        entered, slot = loop.time(), Slot()
        if deadline <= entered:
            raise DeadlineMissed(
                "The deadline of this request passed before its image had arrived. Allow more time or send a smaller image."
            )
        try:
            async with asyncio.timeout_at(deadline) as timeout:
                await self._acquire()
                try:
                    yield slot
                except asyncio.CancelledError:
                    self._abandon(entered, slot)
                    raise
                except BaseException:
                    self._finish(entered, slot)
                    raise
                self._finish(entered, slot)
        except TimeoutError as error:
            if not timeout.expired():  # raised by the job itself
                raise
            raise DeadlineMissed(
                f"No result before the deadline of this request. The images that are queued now take about {self.retry_after()} s."
            ) from error

    async def _acquire(self) -> None:
        if self.running < self.max_concurrency and not self._waiters:
            self.running += 1
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiters.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted in self._waiters:
                self._waiters.remove(granted)
            elif not granted.cancelled():  # the slot was granted at the same moment
                self._release()
            raise

    def _release(self) -> None:
        self.running -= 1
        while self._waiters and self.running < self.max_concurrency:
            granted = self._waiters.popleft()
            if not granted.cancelled():
                self.running += 1
                granted.set_result(None)

    def _finish(self, entered: float, slot: Slot) -> None:
        if slot.is_measured:
            self.service_time.add(entered, asyncio.get_running_loop().time())
        self._release()

    def _abandon(self, entered: float, slot: Slot) -> None:
        stage = slot.stage
        if stage is None or stage.cancel() or stage.done():
            self._release()
            return
        slot.on_abandon()
        loop = asyncio.get_running_loop()

        def ended(stage: "Future[Any]") -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._end_abandoned, entered, stage)

        stage.add_done_callback(ended)

    def _end_abandoned(self, entered: float, stage: "Future[Any]") -> None:
        error = stage.exception()
        if error is not None and not isinstance(error, BoxwrightError):
            logger.error("an image failed after its request had ended", exc_info=error)
        self.service_time.add(entered, asyncio.get_running_loop().time(), abandoned=True)
        self._release()
