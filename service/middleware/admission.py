"""What all requests share: the queue, and the memory for bodies."""

from dataclasses import dataclass
from typing import Any

from service.errors import BodyTooLarge, Overloaded
from service.inference.admission_queue import AdmissionQueue
from service.observability.metrics import ServiceMetrics
from service.settings import Settings


@dataclass(eq=False)
class Room:
    """Whether there is some for one request more, and for so many bytes of it."""

    settings: Settings
    scheduler: AdmissionQueue
    metrics: ServiceMetrics
    body_bytes: int = 0  # of all bodies that are in memory

    def check_queue(self) -> None:
        """Raises Overloaded where a photo would not be taken if it came now."""
        try:
            self.scheduler.check_capacity()
        except Overloaded:
            self.metrics.rejected.labels("queue").inc()
            raise

    def check_length(self, count: int, how: str) -> None:
        """Raises BodyTooLarge for a body that `how` ("declares", "has at least") so many bytes."""
        most = self.settings.max_body_bytes
        if count > most:
            raise BodyTooLarge(f"the body {how} {count:,} bytes; at most {most:,} are read. Send a smaller photo.")

    def take(self, count: int) -> None:
        """So many bytes more are in memory now. Raises Overloaded if that is too many; they are to be given back all the same."""
        self.body_bytes += count
        if self.body_bytes > self.settings.max_waiting_bytes:
            self.metrics.rejected.labels("memory").inc()
            after = self.scheduler.retry_after()
            raise Overloaded(f"the photos that are here fill the memory there is for them; try again in {after} s (Retry-After).", after)

    def give_back(self, count: int) -> None:
        """So many bytes are gone."""
        self.body_bytes -= count
