"""The one thread in which a model's network runs, and the photos that wait for it: one at a time, or a few as a batch."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import numpy as np

from detector.grid import Raw
from detector.placement import Pixels
from service.scheduler import Dropped


class Computed(NamedTuple):
    """Logits (G, G, A, 5 + C) of one photo, and what is to say of the batch it was in."""

    raw: Raw
    seconds: float  # that the batch took
    batch: int  # photos in it
    first: bool  # of them


@dataclass(frozen=True)
class Batching:
    """At most `size` photos at once; the first of them waits up to `wait` seconds for the others."""

    size: int = 1
    wait: float = 0.0


@dataclass(eq=False)
class _Entry:
    pixels: Pixels  # (S, S, 3)
    dropped: Callable[[], bool]
    answer: "Future[Computed]" = field(default_factory=Future)


class Turns:
    """Photos take turns in `thread`, an executor of one thread; `network` is never called anywhere else."""

    def __init__(self, network: Callable[[Raw], Raw], thread: Executor, batching: Batching) -> None:
        self._network = network
        self._thread = thread
        self._batching = batching
        self._ready: deque[_Entry] = deque()
        self._came = threading.Condition()

    def submit(self, pixels: Pixels, dropped: Callable[[], bool]) -> "Future[Computed]":
        """(S, S, 3) -> its logits, in time. The future raises Dropped if `dropped()` when its turn comes, and what the engine raises."""
        entry = _Entry(pixels, dropped)
        with self._came:
            self._ready.append(entry)
            self._came.notify()
        self._thread.submit(self._turn)
        return entry.answer

    def _turn(self) -> None:
        """There is one for each photo; whichever comes first takes a whole batch along, and later ones may find nothing left."""
        wanted = []
        for entry in self._take():
            if not entry.answer.set_running_or_notify_cancel():
                continue
            if entry.dropped():
                entry.answer.set_exception(Dropped())
            else:
                wanted.append(entry)
        if wanted and not self._compute(wanted):
            for entry in wanted:  # one photo's failure is not the others'
                self._compute([entry])

    def _take(self) -> list[_Entry]:
        size = self._batching.size
        with self._came:
            if self._ready and size > 1:
                self._came.wait_for(lambda: len(self._ready) >= size, self._batching.wait)
            return [self._ready.popleft() for _ in range(min(size, len(self._ready)))]

    def _compute(self, entries: Sequence[_Entry]) -> bool:
        """False if a batch of several failed, and nobody has been told yet."""
        started = perf_counter()
        try:
            pixels = [entry.pixels for entry in entries]
            raws = self._network(pixels[0][None] if len(pixels) == 1 else np.stack(pixels))
        except Exception as error:  # noqa: BLE001  # not swallowed: it is raised where the photo is waited for
            if len(entries) > 1:
                return False
            entries[0].answer.set_exception(error)
            return True
        seconds = perf_counter() - started
        for entry, raw in zip(entries, raws, strict=True):
            entry.answer.set_result(Computed(raw, seconds, len(entries), entry is entries[0]))
        return True
