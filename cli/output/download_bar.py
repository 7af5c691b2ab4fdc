"""A download on the terminal: bar, rate, time left. On stderr, so that stdout stays what was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.output.messages import messages_shown
from detector.spec import Model
from weights.engines import factory
from weights.engines.factory import EngineKind, PreparedEngine
from weights.hub import resolve
from weights.hub.partial_file import ProgressCallback


@contextmanager
def download_bar(name: str) -> Iterator[ProgressCallback]:
    """What a download reports to; the bar is not shown before it does, nor where stderr is no terminal. Messages always are."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False) as bar, messages_shown(console):
        task = bar.add_task(name, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def load_model(name_or_file: str | None) -> Model:
    """`weights.hub.resolve.resolve_model`, with a bar where something has to be downloaded."""
    with download_bar(name_or_file or resolve.DEFAULT_MODEL) as progress:
        return resolve.resolve_model(name_or_file, on_progress=progress)


def load_ready(name_or_file: str | None, engine: EngineKind, *, lanes: bool = False) -> PreparedEngine:
    """`weights.engines.factory.prepare_engine`, likewise."""
    with download_bar(name_or_file or resolve.DEFAULT_MODEL) as progress:
        return factory.prepare_engine(name_or_file, engine, on_progress=progress, concurrent_sessions=lanes)
