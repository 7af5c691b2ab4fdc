"""Handle Ctrl-C at the end of a training step, so that the saved state is complete."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none


class InterruptHandler:
    """Context manager that records SIGINT, SIGTERM and SIGHUP in `requested`. A second signal ends the program as usual.

    SIGHUP means that the terminal has closed, for example because an SSH connection has ended. Programs under nohup ignore it.
    Several workers must stop after the same step. They agree on it in `agree`.
    """

    def __init__(self, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group = group
        self._received = self._agreed = False
        self._previous: dict[signal.Signals, Any] = {}
        self._terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]

    def __enter__(self) -> "InterruptHandler":
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            numbers = [signal.SIGINT, signal.SIGTERM]
            if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
                numbers.append(_HANGUP)
            self._previous = {number: signal.signal(number, self._record) for number in numbers}
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

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self._received = True
        if number == _HANGUP:
            self._discard_terminal_output()
        self._restore()

    def _discard_terminal_output(self) -> None:
        """Replace the closed terminal, because writing to it would fail before the checkpoint is saved."""
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in self._terminals:
            os.dup2(null, descriptor)
        os.close(null)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
