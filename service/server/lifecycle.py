"""State of the service process."""

from dataclasses import dataclass

from service.errors import ShuttingDown

SHUTDOWN_RETRY_AFTER = 1  # Seconds. Another instance can answer at once.


@dataclass
class Lifecycle:
    """Whether the service is shutting down. It still answers, but clients should send new requests to another instance."""

    shutting_down: bool = False

    def check(self) -> None:
        """Raise ShuttingDown after SIGTERM."""
        if self.shutting_down:
            raise self.error()

    def error(self) -> ShuttingDown:
        """Return the error that answers a request after SIGTERM."""
        return ShuttingDown("The service is shutting down. Send requests to another instance.", SHUTDOWN_RETRY_AFTER)
