"""`boxwright report`: the report of a training run."""

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run of 'boxwright finetune'.", show_default=False)],
) -> None:
    """Write report.html into a run's folder: average precision, images, curves, layers.

    The run may be finished, in progress or interrupted.
    """
    from cli.extras import start_tensorflow
    from training.run.folder import RunFolder

    RunFolder.open(run)
    start_tensorflow("boxwright report")
    from cli.output.progress import progress_bar
    from cli.output.progress_events import ProgressEvents
    from training.report.write import write_report

    with progress_bar("evaluating best.safetensors") as advance:
        path = write_report(run, ProgressEvents(advance))
    typer.echo(path)
