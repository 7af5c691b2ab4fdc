"""A training run as the terminal shows it: a bar, a line for each check, and at the end where everything is."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from training.feature_cache import Filling
    from training.finetune import Outcome, Run


def go(run: "Run") -> "Outcome":
    """The run to its end, with its report, and a line that says what came of it. Raises what `Run.go` does."""
    from training.errors import TrainingError
    from training.report import write_report

    try:
        outcome = _shown(run)
    except TrainingError:  # a run that broke off: its report is wanted most
        if run.team.is_chief:
            write_report(run.folder.path)
        raise
    typer.echo(f"{outcome.why} {_told_of(run, outcome) if run.team.is_chief else 'All of it is with worker 0.'}")
    return outcome


def find_rate(run: "Run") -> None:
    """Try rising learning rates, and say which to take."""
    from training.rate_finder import find_learning_rate

    search = find_learning_rate(run.trainer, run.batches)
    _, plot = search.write(run.folder.path)
    typer.echo(f"suggested: --learning-rate {search.suggestion:.1e}; the loss at each rate: {plot}")


def _told_of(run: "Run", outcome: "Outcome") -> str:
    """Where a run's results are; its report is written."""
    from training.report import write_report

    best = "no check was made" if outcome.best is None else f"best {run.config.watch} {abs(outcome.best):.3f} at step {outcome.best_step}"
    return f"{best}: {outcome.folder / 'best.safetensors'}; all of it: {write_report(outcome.folder)}"


def _aps(row: dict[str, Any]) -> str:
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


def _shown(run: "Run") -> "Outcome":
    """The run with a bar on stderr, and a line for each check."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    where = run.folder.path if run.team.is_chief else f"worker {run.team.share.index}"
    console.print(f"{where}: {run.batches.steps} steps, {run.batches.steps_per_epoch} an epoch", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=run.batches.steps, completed=run.progress.step)

        def report(row: dict[str, Any]) -> None:
            bar.update(task, completed=row["step"], description=f"loss {row['loss']:.2f}")
            if "ap50" in row:
                facts = f"step {row['step']}, epoch {row['epoch'] + 1}: loss {row['loss']:.3f}"
                console.print(f"{facts}, val loss {row['val_loss']:.3f}, {_aps(row)}", highlight=False, soft_wrap=True)
                console.print(f"  {_of_layers(row['layers'])}", style="dim", highlight=False, soft_wrap=True)
                for sentence in row["sentences"]:
                    console.print(f"  {sentence}", style="yellow", highlight=False, soft_wrap=True)

        def filling(stand: "Filling") -> None:
            bar.update(task, description=f"features {stand.done:,} of {stand.views:,}")
            if stand.done in (0, stand.views):
                what = "computing" if stand.done == 0 else "kept:"
                facts = f"what the frozen layers say of {stand.views:,} views, {stand.bytes / 1e6:,.0f} MB"
                console.print(f"{what} {facts}, in {stand.path}", highlight=False, soft_wrap=True)

        return run.go(report, filling)
