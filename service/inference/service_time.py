"""How long one photo keeps the service from the next, as measured."""

FIRST_GUESS = 0.1
"""Seconds, until one has been measured."""

REMEMBERED = 16
"""About so many of the last photos decide."""


class ServiceTime:
    """A moving average of the time between two answers while there was something to do. One event loop's."""

    def __init__(self) -> None:
        self.seconds = FIRST_GUESS
        self._count = 0
        self._last_ended = 0.0

    def measured(self, entered: float, ended: float) -> None:
        """One more photo: when it came, and when its answer was ready.

        Several photos are worked on at a time, so what one takes from first to last is more than what it holds up the others. While they
        queue, an answer comes every so many seconds: that is what a photo costs. After a pause it is counted from its own coming.
        """
        self._count = min(self._count + 1, REMEMBERED)
        self.seconds += (ended - max(entered, self._last_ended) - self.seconds) / self._count
        self._last_ended = ended
