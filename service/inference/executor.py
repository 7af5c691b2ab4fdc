"""The threads in which a model's network runs, and the photos that wait for it.

A photo that is alone has all cores. While as many wait as there are threads, each gets one core, beside the others: that gets a fifth
more done on two cores, as no thread waits for another at the end of every layer. See docs/decisions/0013.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import numpy as np

from detector.grid import Logits
from detector.placement import Pixels
from service.inference.admission_queue import Dropped
from service.inference.lanes import Lanes


class Computed(NamedTuple):
    """Logits (G, G, A, 5 + C) of one photo, and what is to say of the batch it was in."""

    raw: Logits
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
    """Photos take turns in the threads of `lanes`; `network`, which takes all cores, is called there alone, `beside` beside others.

    beside: None where the network may not be called by two threads; then, as with batches, there is one call at a time.
    """

    def __init__(
        self,
        network: Callable[[Logits], Logits],
        lanes: Lanes,
        batching: Batching,
        beside: Callable[[Logits], Logits] | None = None,
    ) -> None:
        self._network = network
        self._lanes = lanes
        self._batching = batching
        self._beside = beside if batching.size == 1 else None
        self._ready: deque[_Entry] = deque()
        self._calls = 0  # of the network that go on
        self._alone = False  # the one that goes on has all cores
        self._changed = threading.Condition()  # any of these

    def submit(self, pixels: Pixels, dropped: Callable[[], bool]) -> "Future[Computed]":
        """(S, S, 3) -> its logits, in time. The future raises Dropped if `dropped()` when its turn comes, and what the engine raises."""
        entry = _Entry(pixels, dropped)
        with self._changed:
            self._ready.append(entry)
            self._changed.notify_all()
        self._lanes.submit(self._turn)
        return entry.answer

    def _turn(self) -> None:
        """There is one for each photo; whichever comes first takes a whole batch along, and later ones may find nothing left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._calls or (self._beside is not None and not self._alone))
            self._alone = not self._calls and (self._beside is None or len(self._ready) < self._lanes.count)
            self._calls += 1
            network = self._network if self._beside is None or self._alone else self._beside
            entries = self._taken()
        try:
            self._answer([entry for entry in entries if _wanted(entry)], network)
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def _taken(self) -> list[_Entry]:
        size = self._batching.size
        if self._ready and size > 1:
            self._changed.wait_for(lambda: len(self._ready) >= size, self._batching.wait)
        return [self._ready.popleft() for _ in range(min(size, len(self._ready)))]

    def _answer(self, wanted: Sequence[_Entry], network: Callable[[Logits], Logits]) -> None:
        if wanted and not self._compute(wanted, network):
            for entry in wanted:  # one photo's failure is not the others'
                self._compute([entry], network)

    def _compute(self, entries: Sequence[_Entry], network: Callable[[Logits], Logits]) -> bool:
        """False if a batch of several failed, and nobody has been told yet."""
        started = perf_counter()
        try:
            pixels = [entry.pixels for entry in entries]
            raws = network(pixels[0][None] if len(pixels) == 1 else np.stack(pixels))
        except Exception as error:  # noqa: BLE001  # not swallowed: it is raised where the photo is waited for
            if len(entries) > 1:
                return False
            entries[0].answer.set_exception(error)
            return True
        seconds = perf_counter() - started
        for entry, raw in zip(entries, raws, strict=True):
            entry.answer.set_result(Computed(raw, seconds, len(entries), entry is entries[0]))
        return True


def _wanted(entry: _Entry) -> bool:
    """Whether somebody waits for it; if not, its future is told."""
    if not entry.answer.set_running_or_notify_cancel():
        return False
    if entry.dropped():
        entry.answer.set_exception(Dropped())
        return False
    return True
