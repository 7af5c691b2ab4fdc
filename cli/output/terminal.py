"""Messages on stderr: errors, log messages of the packages, and the next step."""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text


def escape_control_characters(text: str) -> str:
    r"""Replace characters that control a terminal by escapes such as \x1b. Messages may quote untrusted files and servers."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def print_error(message: str, *, warning: bool = False) -> None:
    """Print one line that starts with "boxwright:" to stderr."""
    typer.secho(f"boxwright: {escape_control_characters(message)}", fg="yellow" if warning else "red", err=True)


def print_image_error(console: Console, message: str) -> None:
    """Print a message about one image through `console`, above its progress bar."""
    console.print(Text(escape_control_characters(message), style="red"), soft_wrap=True)


def print_note(text: str) -> None:
    """Print a note to stderr, so that stdout has only tables and JSON."""
    typer.echo(escape_control_characters(text), err=True)


def print_next_step(*words: str | Path, when: str = "") -> None:
    """Suggest the next command on stderr, quoted for a shell.

    Args:
        words: The command and its arguments.
        when: A condition or a purpose, such as "unless the images are divided".
    """
    typer.secho(f"Next{f', {when}' if when else ''}: {shlex.join(map(str, words))}", dim=True, err=True)


class _ConsoleHandler(logging.Handler):
    """Prints records through the console that shows a progress bar, above the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(escape_control_characters(record.getMessage())), soft_wrap=True)


@contextmanager
def show_log_messages(console: Console | None = None) -> Iterator[None]:
    """Print log messages of the package `weights` to stderr: a busy lock, a failing mirror, a recorded hash.

    Args:
        console: The console that shows a progress bar at the same time.
    """
    logger, handler = logging.getLogger("weights"), _ConsoleHandler(console or Console(stderr=True))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
