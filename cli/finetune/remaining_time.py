"""Estimate of the remaining time of a training run."""


class RemainingTime:
    """Estimates the remaining time from the steps of this process. Pauses, in which no steps are made, do not count."""

    def __init__(self, first_step: int, steps: int, now: float) -> None:
        """Start the clock.

        Args:
            first_step: Steps that the run had before this process.
            steps: Steps of the whole run.
            now: Time in seconds, as `time.monotonic` returns it; here and in all methods.
        """
        self._first_step, self._steps = first_step, steps
        self._started = self._paused_at = now

    def pause(self, now: float) -> None:
        """Stop the clock."""
        self._paused_at = now

    def resume(self, now: float) -> None:
        """Continue after a pause."""
        self._started += now - self._paused_at

    def describe(self, step: int, now: float) -> str:
        """Return the estimate after a step: "1:04 left"."""
        elapsed, done = now - self._started, max(1, step - self._first_step)
        seconds = round(elapsed / done * (self._steps - step))
        minutes, hours = seconds // 60 % 60, seconds // 3600
        return f"{hours}:{minutes:02d}:{seconds % 60:02d} left" if hours else f"{minutes}:{seconds % 60:02d} left"
