"""The processes that compute each training step together. A group has one process here, and several in `multi_worker`.

Each process has the complete network and handles a shard of every batch. Gradients, loss terms and batch-norm statistics are summed over
the group, so that all processes apply the same update. The chief (worker 0) validates, writes files, and broadcasts what the others need.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one process handles."""

    index: int = 0
    count: int = 1  # of shards

    def of(self, images: int) -> range:
        """Return the positions that belong to this shard in a batch of `images` images. The shards in order form the batch."""
        return range(images * self.index // self.count, images * (self.index + 1) // self.count)


WHOLE_BATCH = Shard()


class ProcessGroup:
    """A process that trains alone. `multi_worker.MultiWorkerGroup` is a group of several processes."""

    shard = WHOLE_BATCH

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.shard.count

    @property
    def is_chief(self) -> bool:
        """True for the process that validates and writes files."""
        return self.shard.index == 0

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Return each tensor's sum over all processes. All processes must call it at the same point of a compiled function."""
        return list(tensors)

    def any(self, flag: bool) -> bool:
        """Return True if `flag` is true in at least one process."""
        return flag

    def broadcast(self, compute: Callable[[], Any]) -> Any:
        """Call `compute` on the chief and return its result, which must be serialisable as JSON, on all processes."""
        return compute()

    def broadcast_bytes(self, compute: Callable[[], bytes]) -> bytes:
        """Call `compute` on the chief and return its bytes on all processes."""
        return compute()

    @contextmanager
    def fail_together(self, advice: str = "") -> Iterator[None]:  # noqa: ARG002
        """Inside the context, an exception in one process ends all. The others raise WorkerLost with the reason, followed by `advice`."""
        yield


SINGLE_PROCESS = ProcessGroup()
