"""Where the time of one request goes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Seconds of each stage, and in all since it was made."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what is done inside."""
        started = perf_counter()
        yield
        self.note(name, perf_counter() - started)

    def note(self, name: str, seconds: float) -> None:
        """A stage that was timed elsewhere."""
        self._stages[name] = seconds

    def note_so_far(self, name: str) -> None:
        """A stage that began when the watch was made and ends now."""
        self.note(name, perf_counter() - self._started)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage."""
        return self._stages

    def read(self, *stages: str) -> dict[str, float]:
        """Milliseconds of these stages, and "total" since the watch was made."""
        times = {name: self._stages[name] for name in stages} | {"total": perf_counter() - self._started}
        return {name: round(1000 * seconds, 2) for name, seconds in times.items()}
