"""What `weights` logs while a command waits for it, on stderr: a busy lock, a mirror that fails, a hash that is recorded."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from cli.output.shown import shown


class _OnConsole(logging.Handler):
    """Through the console that shows a progress bar, so that the bar stays below."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(shown(record.getMessage())), soft_wrap=True)


@contextmanager
def messages_shown(console: Console | None = None) -> Iterator[None]:
    """Within, each message is a line on stderr; console: the one that is written to already, if there is one."""
    logger, handler = logging.getLogger("weights"), _OnConsole(console or Console(stderr=True))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
