"""Who is worked for, and when: a bounded queue, a deadline for each job, and nothing done for nobody.

A job waits in the queue until one of the places is free, and then goes through its stages. The queue's length is bounded; one
more is refused at once, with the time after which it is worth trying again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from math import ceil
from typing import Generic, ParamSpec, TypeVar

from detector.errors import BoxwrightError
from service.errors import DeadlineMissed, Overloaded
from service.inference.service_time import ServiceTime

logger = logging.getLogger("boxwright.service")

Answer = TypeVar("Answer")
Result = TypeVar("Result")
Given = ParamSpec("Given")


class Dropped(Exception):
    """Nobody waits for this job any more; raised within it where the next stage would have begun."""


class Job(Generic[Answer]):
    """One photo's way through the service."""

    def __init__(self, work: Callable[["Job[Answer]"], Awaitable[Answer]], answer: "asyncio.Future[Answer]", entered: float) -> None:
        self.work = work
        self.answer = answer
        self.entered = entered  # the event loop's time

    @property
    def dropped(self) -> bool:
        """Whether there is still somebody to work for. Any thread may ask."""
        return self.answer.done()

    async def stage(self, pool: Executor, step: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """Run one step in a thread; raises Dropped if the job is dropped before a thread is free for it."""

        def begin() -> Result:
            if self.dropped:
                raise Dropped
            return step(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(pool, begin)


class Scheduler(Generic[Answer]):
    """At most `places` jobs are worked on, at most `queue_size` more wait, first come first served. Of one event loop."""

    def __init__(self, places: int, queue_size: int) -> None:
        self.places = places  # worked on at a time, at most
        self._queue_size = queue_size
        self._waiting: deque[Job[Answer]] = deque()
        self._working: set[asyncio.Task[Answer]] = set()
        self.service_time = ServiceTime()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def working(self) -> int:
        """Jobs that have a place."""
        return len(self._working)

    def check_room(self) -> None:
        """Raises Overloaded if the queue is full."""
        if len(self._waiting) >= self._queue_size and len(self._working) >= self.places:
            after = self.retry_after()
            raise Overloaded(f"{self.waiting} photos wait already, as many as may; try again in {after} s (Retry-After).", after)

    def retry_after(self) -> int:
        """Seconds until all that is here now will be done, by the time that jobs have taken so far; at least 1."""
        return max(1, ceil((self.waiting + self.working) * self.service_time.seconds))

    async def run(self, work: Callable[[Job[Answer]], Awaitable[Answer]], deadline: float) -> Answer:
        """What `work` answers. Raises Overloaded at once, DeadlineMissed at the deadline (the event loop's time), and what `work` raises.

        If the deadline passes or the caller is cancelled, the stage that has begun ends for nobody and no further one begins.
        """
        self.check_room()
        loop = asyncio.get_running_loop()
        if deadline <= loop.time():
            raise DeadlineMissed("the time for this request was over before its photo had arrived; allow it more, or send a smaller photo.")
        job: Job[Answer] = Job(work, loop.create_future(), loop.time())
        self._waiting.append(job)
        self._fill_places()
        try:
            async with asyncio.timeout_at(deadline) as clock:
                return await job.answer
        except TimeoutError as late:
            if not clock.expired():  # the work's own
                raise
            after = self.retry_after()
            raise DeadlineMissed(f"no answer within the time for this request; what is here now takes about {after} s.") from late
        finally:
            job.answer.cancel()
            if job in self._waiting:
                self._waiting.remove(job)

    def _fill_places(self) -> None:
        while self._waiting and len(self._working) < self.places:
            job = self._waiting.popleft()
            task = asyncio.ensure_future(job.work(job))
            self._working.add(task)
            task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job[Answer], task: asyncio.Task[Answer]) -> None:
        self._working.discard(task)
        self._fill_places()
        error = None if task.cancelled() else task.exception()
        if job.dropped:
            if error is not None and not isinstance(error, Dropped | BoxwrightError):
                logger.error("a photo that nobody waits for any more failed", exc_info=error)
            return
        self.service_time.measured(job.entered, asyncio.get_running_loop().time())
        if task.cancelled():
            job.answer.cancel()
        elif error is not None:
            job.answer.set_exception(error)
        else:
            job.answer.set_result(task.result())
