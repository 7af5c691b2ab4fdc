"""Where the time of one request goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Milliseconds of each stage, and in all since it was made."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what is done inside."""
        started = perf_counter()
        yield
        self._stages[name] = _milliseconds(started)

    def read(self) -> dict[str, float]:
        """Milliseconds by stage, and "total"."""
        return {**self._stages, "total": _milliseconds(self._started)}


def _milliseconds(since: float) -> float:
    return round(1000 * (perf_counter() - since), 2)
