"""Who takes a training step together: one process alone, or several workers of which each sees its share of every batch.

Each worker has the whole network. Gradients, the terms of the loss and the statistics of batch norm are summed over all of them, so that
every one takes the same step, from the same numbers. The chief, worker 0, measures and writes; the others learn of it what they need.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Share:
    """Which part of every batch is one's own."""

    index: int = 0
    count: int = 1  # of all parts

    def of(self, photos: int) -> range:
        """The places of a batch of so many photos that belong to it. All parts together are the batch, in its order."""
        return range(photos * self.index // self.count, photos * (self.index + 1) // self.count)


WHOLE = Share()


class Team:
    """One process, which trains alone. `workers.Workers` is a team of several."""

    share = WHOLE

    @property
    def count(self) -> int:
        """Of its members."""
        return self.share.count

    @property
    def is_chief(self) -> bool:
        """Whether this one measures and writes."""
        return self.share.index == 0

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """In a compiled function: each tensor's sum over the workers, which all call this at the same place."""
        return list(tensors)

    def any(self, flag: bool) -> bool:
        """Whether it is so for one of the workers at least."""
        return flag

    def told(self, tell: Callable[[], Any]) -> Any:
        """What the chief says, for all: `tell` is called there only. Anything that JSON can say."""
        return tell()

    def told_bytes(self, tell: Callable[[], bytes]) -> bytes:
        """The same of bytes."""
        return tell()

    @contextmanager
    def together(self, advice: str = "") -> Iterator[None]:  # noqa: ARG002
        """Inside, whatever ends one worker ends all of them. The others raise WorkerLost, which says why, with the advice behind it."""
        yield


ALONE = Team()
