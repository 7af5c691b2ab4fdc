"""Handle Ctrl-C at the end of a training step, so that the saved state is complete."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


class InterruptHandler:
    """Context manager that records SIGINT and SIGTERM in `requested`. A second signal ends the program as usual.

    Several workers must stop after the same step. They agree on it in `agree`.
    """

    def __init__(self, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group = group
        self._received = self._agreed = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "InterruptHandler":
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            self._previous = {number: signal.signal(number, self._record) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    @property
    def requested(self) -> bool:
        """True if the run should stop now. With several workers, all have agreed on this."""
        return self._received if self._group.count == 1 else self._agreed

    def agree(self) -> bool:
        """Return True if any worker received a signal. All workers call this after the same step."""
        self._agreed = self._group.any(self._received)
        return self._agreed

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        self._received = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
