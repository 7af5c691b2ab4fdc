"""Whether the service is about to end."""

from dataclasses import dataclass

from service.errors import ShuttingDown

RETRY_AFTER = 1
"""Seconds: another instance can answer at once."""


@dataclass
class Lifecycle:
    """Of one application. From SIGTERM on it is ending; what still arrives is answered, but no more should be sent."""

    ending: bool = False

    def check(self) -> None:
        """Raises ShuttingDown once it is ending."""
        if self.ending:
            raise ShuttingDown("the service is ending; send requests elsewhere.", RETRY_AFTER)
