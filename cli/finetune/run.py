"""A training run as the terminal shows it: a bar, a line for each check, and at the end where everything is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from training.events import Events
    from training.run.run import Run, RunOutcome


def go(run: "Run") -> "RunOutcome":
    """The run to its end, with its report, and a line that says what came of it. Raises what `Run.train` does."""
    from training.errors import TrainingError
    from training.report.write import write_report

    try:
        outcome = _shown(run)
    except TrainingError:  # a run that broke off: its report is wanted most
        if run.setup.group.is_chief:
            write_report(run.folder.path)
        raise
    typer.echo(f"{outcome.reason} {_told_of(run, outcome) if run.setup.group.is_chief else 'All of it is with worker 0.'}")
    return outcome


def find_rate(run: "Run") -> None:
    """Try rising learning rates, and say which to take."""
    from training.run.lr_finder import find_learning_rate

    search = find_learning_rate(run.trainer, run.setup.batches)
    _, plot = search.write(run.folder.path)
    typer.echo(f"suggested: --learning-rate {search.suggestion:.1e}; the loss at each rate: {plot}")


def _told_of(run: "Run", outcome: "RunOutcome") -> str:
    """Where a run's results are; its report is written."""
    from training.report.write import write_report

    best = (
        "no check was made"
        if outcome.best is None
        else f"best {run.setup.config.watch} {abs(outcome.best):.3f} at step {outcome.best_step}"
    )
    return f"{best}: {outcome.folder / 'best.safetensors'}; all of it: {write_report(outcome.folder)}"


def _aps(row: Mapping[str, Any]) -> str:
    return f"AP50 {row['ap50']:.3f} (frequent classes {row['ap50_frequent']:.3f}, weighted by boxes {row['ap50_weighted']:.3f})"


def _of_layers(layers: dict[str, Any]) -> str:
    """The layers that learn least and most, and the one with most channels that are dead or saturated."""
    ratios, flat = layers["gradient_to_weight"], layers["flat"]
    told = []
    if ratios:
        least, most = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
        told.append(f"gradients {ratios[least]:.0e} ({least}) to {ratios[most]:.0e} ({most}) of the weights")
    for word in ("dead", "saturated"):
        if flat:
            layer = max(flat, key=lambda name: flat[name][word])
            told.append(f"{word} at most {flat[layer][word]:.0%}" + (f" ({layer})" if flat[layer][word] else ""))
    return ", ".join(told)


def _shown(run: "Run") -> "RunOutcome":
    """The run with a bar on stderr, and a line for each check."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    where = run.folder.path if run.setup.group.is_chief else f"worker {run.setup.group.shard.index}"
    console.print(f"{where}: {run.setup.batches.steps} steps, {run.setup.batches.steps_per_epoch} an epoch", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=run.setup.batches.steps, completed=run.state.step)

        return run.train(_progress_on(console, bar, task))


def _progress_on(console: "Console", bar: "Progress", task: "TaskID") -> "Events":
    """Return events that update the bar and print a line for each validation."""
    from training.events import CacheProgress, Events

    class TerminalProgress(Events):
        def step_finished(self, metrics: Mapping[str, Any]) -> None:
            bar.update(task, completed=metrics["step"], description=f"loss {metrics['loss']:.2f}")
            if "ap50" in metrics:
                facts = f"step {metrics['step']}, epoch {metrics['epoch'] + 1}: loss {metrics['loss']:.3f}"
                console.print(f"{facts}, val loss {metrics['val_loss']:.3f}, {_aps(metrics)}", highlight=False, soft_wrap=True)
                console.print(f"  {_of_layers(metrics['layers'])}", style="dim", highlight=False, soft_wrap=True)
                for sentence in metrics["sentences"]:
                    console.print(f"  {sentence}", style="yellow", highlight=False, soft_wrap=True)

        def features_cached(self, progress: CacheProgress) -> None:
            bar.update(task, description=f"features {progress.done:,} of {progress.total:,}")
            if progress.done in (0, progress.total):
                action = "computing" if progress.done == 0 else "cached:"
                facts = f"features of {progress.total:,} views, {progress.file_size / 1e6:,.0f} MB"
                console.print(f"{action} {facts}, in {progress.path}", highlight=False, soft_wrap=True)

    return TerminalProgress()
