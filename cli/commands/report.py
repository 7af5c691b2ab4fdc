"""`boxwright report`: a run on one page."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, as `boxwright finetune` made it.")],
) -> None:
    """Write report.html into a run's folder: curves, layers, precision, photos. Of a run that was killed or still goes on, too."""
    from rich.console import Console
    from rich.progress import Progress

    from training.report.report import write_report

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring best.safetensors", total=None)
        path = write_report(run, lambda: progress.advance(task))
    typer.echo(path)
