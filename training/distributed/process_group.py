"""The processes that take each training step together. This module has the group of one; `multi_worker` has the group of several.

Each process has the complete network and processes a shard of every batch. Gradients, loss terms and batch-norm statistics are summed over
the group, so that all processes apply the same update. The chief (worker 0) validates and writes files, and broadcasts what the others need.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Share:
    """The part of every batch that one process handles."""

    index: int = 0
    count: int = 1  # of shards

    def of(self, photos: int) -> range:
        """Return the positions of a batch of `photos` images that belong to this shard. All shards in order are the batch."""
        return range(photos * self.index // self.count, photos * (self.index + 1) // self.count)


WHOLE = Share()


class Team:
    """A process that trains alone. `multi_worker.MultiWorkerGroup` is a group of several processes."""

    share = WHOLE

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.share.count

    @property
    def is_chief(self) -> bool:
        """True for the process that validates and writes files."""
        return self.share.index == 0

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Return each tensor's sum over all processes. All processes call this at the same place of a compiled function."""
        return list(tensors)

    def any(self, flag: bool) -> bool:
        """Return True if `flag` is true in at least one process."""
        return flag

    def told(self, tell: Callable[[], Any]) -> Any:
        """Call `tell` on the chief and return its result, which must be serialisable as JSON, on all processes."""
        return tell()

    def told_bytes(self, tell: Callable[[], bytes]) -> bytes:
        """Call `tell` on the chief and return its bytes on all processes."""
        return tell()

    @contextmanager
    def together(self, advice: str = "") -> Iterator[None]:  # noqa: ARG002
        """End all processes if an exception ends one inside. The others raise WorkerLost with the reason, followed by `advice`."""
        yield


ALONE = Team()
