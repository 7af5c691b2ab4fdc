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

    from training.events import Events
    from training.report.write import write_report

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring best.safetensors", total=None)

        class EvaluationProgress(Events):
            def image_evaluated(self) -> None:
                progress.advance(task)

        path = write_report(run, EvaluationProgress())
    typer.echo(path)
