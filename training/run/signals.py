"""Ctrl-C that waits for the end of a step, so that what is saved is whole; of several workers, for one that all have made."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from training.distributed.process_group import ALONE, Team


class Interrupt:
    """Inside `with`, SIGINT and SIGTERM are noted in `asked`. A second one ends the program as usual."""

    def __init__(self, team: Team = ALONE) -> None:
        self._team = team
        self._noted = self._agreed = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python does not allow it
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    @property
    def asked(self) -> bool:
        """Whether to end. Several workers do not before they have agreed on it."""
        return self._noted if self._team.count == 1 else self._agreed

    def agreed(self) -> bool:
        """The same, where all workers are at the same place and ask: a signal to one of them is one to all."""
        self._agreed = self._team.any(self._noted)
        return self._agreed

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._noted = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
