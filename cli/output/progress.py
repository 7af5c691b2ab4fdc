"""Progress bars on stderr, and loading models with a bar for the download."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.output.terminal import show_log_messages
from detector.network.spec import Model
from weights.engines.factory import Choice, PreparedEngine, choose_engine, prepare_engine
from weights.engines.options import EngineOptions
from weights.hub import resolve
from weights.hub.partial_file import ProgressCallback as ReportDownload

Advance = Callable[..., None]
"""Function that advances a progress bar by one step. Its optional argument sets the total, for totals that are unknown at first."""


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Advance]:
    """Show a bar while the block runs, if stderr is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal, redirect_stdout=False) as bar:
        task = bar.add_task(description, total=total)

        def advance(total: int | None = None) -> None:
            if total is not None:
                bar.update(task, total=total)
            bar.advance(task)

        yield advance


@contextmanager
def download_bar(name: str) -> Iterator[ReportDownload]:
    """Show progress, rate and remaining time once the download has started. Log messages appear above the bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False) as bar, show_log_messages(console):
        task = bar.add_task(name, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def load_named_model(name_or_file: str | None) -> Model:
    """Load a model as `resolve_model` does, with a bar for the download."""
    resolve.check_model(name_or_file)
    with download_bar(name_or_file or resolve.DEFAULT_MODEL) as report:
        return resolve.resolve_model(name_or_file, on_progress=report)


def load_named_memory(name_or_file: str | None) -> dict[str, bytes] | None:
    """Return the entries of the memory of a model that `load_named_model` has loaded; None if it has no memory."""
    return resolve.find_model(name_or_file).load_memory()


def load_named_engine(
    name_or_file: str | None, options: EngineOptions, *, concurrent_sessions: bool = False, raced: bool = False
) -> PreparedEngine:
    """Load an engine as `prepare_engine` does, with a bar for the download."""
    resolve.check_model(name_or_file)
    with download_bar(name_or_file or resolve.DEFAULT_MODEL) as report:
        return prepare_engine(name_or_file, options, on_progress=report, concurrent_sessions=concurrent_sessions, raced=raced)


def choose_named_engine(name_or_file: str | None, options: EngineOptions) -> Choice:
    """Choose an engine as `choose_engine` does, with a bar for the download."""
    resolve.check_model(name_or_file)
    with download_bar(name_or_file or resolve.DEFAULT_MODEL) as report:
        return choose_engine(resolve.find_model(name_or_file, on_progress=report), options)
