"""`boxwright finetune`: a better detector from your own photos."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.config_options import with_config_options
from cli.options import ModelOption

if TYPE_CHECKING:
    from training.config import Config
    from training.feature_cache import Filling
    from training.finetune import Outcome, Run


def finetune(
    dataset: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="VOC-style: JPEGImages, Annotations, ImageSets.")] = None,
    *,
    model: ModelOption = None,
    train_set: Annotated[str, typer.Option("--set", help="The list in ImageSets/Main to train on.")] = "train",
    val_set: Annotated[str, typer.Option("--val-set", help="The list to check on.")] = "val",
    out: Annotated[Path, typer.Option("--out", help="Where the run's folder is made.")] = Path("runs"),
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE_OR_RECIPE", help="Options in a TOML file; those given here come on top.")
    ] = None,
    then: Annotated[
        list[str] | None,
        typer.Option("--then", metavar="FILE_OR_RECIPE", help="Another run with these options, from the best weights; again for more."),
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Go on with a run from its last checkpoint.")] = None,
    find_rate: Annotated[bool, typer.Option("--find-learning-rate", help="Only try rising learning rates, and plot the loss.")] = False,
    **options: Any,
) -> None:
    """Fine-tune a model on annotated photos. best.safetensors in the run's folder is a model that `boxwright serve` takes."""
    given = {name: value for name, value in options.items() if value is not None}
    for recipe in then or ():
        _settings(recipe, given)  # what is wrong with it is told before the first run
    if resume:
        if dataset or config or given or find_rate:
            raise typer.BadParameter("--resume goes on with the run as it was begun; give no folder and no other options but --then.")
        run = _resumed(resume)
    elif dataset:
        run = _begun(dataset, (train_set, val_set), model, _settings(config, given), out)
    else:
        raise typer.BadParameter("give the folder of the data set, or --resume RUN.")
    if find_rate:
        _find_rate(run)
        return
    outcome = _reported(run)
    if then and not outcome.interrupted:
        task, best, beside = run.task, str(outcome.folder / "best.safetensors"), outcome.folder.parent
        sets = {"train_set": task.train_set, "val_set": task.val_set}
        finetune(Path(task.dataset), model=best, out=beside, config=then[0], then=then[1:], **(options | sets))


def _begun(dataset: Path, sets: tuple[str, str], model: str | None, settings: "Config", out: Path) -> "Run":
    from cli.download_bar import load_model
    from training.finetune import Run
    from training.run_folder import Task

    weights = str(Path(model).resolve()) if model and Path(model).is_file() else model
    return Run.new(Task(str(dataset.resolve()), *sets, weights), settings, load_model(model), out)


def _resumed(path: Path) -> "Run":
    from cli.download_bar import load_model
    from training.finetune import Run
    from training.run_folder import RunFolder

    folder, task, settings = RunFolder.open(path)
    return Run.resumed(folder, task, settings, load_model(task.model))


def _reported(run: "Run") -> "Outcome":
    """The run to its end, and a line that says what came of it."""
    from training.errors import TrainingError
    from training.report import write_report

    try:
        outcome = _go(run)
    except TrainingError:  # a run that broke off: its report is wanted most
        write_report(run.folder.path)
        raise
    typer.echo(f"{outcome.why} {_told_of(run, outcome)}")
    return outcome


def _told_of(run: "Run", outcome: "Outcome") -> str:
    """Where a run's results are; its report is written."""
    from training.report import write_report

    best = "no check was made" if outcome.best is None else f"best {run.config.watch} {abs(outcome.best):.3f} at step {outcome.best_step}"
    return f"{best}: {outcome.folder / 'best.safetensors'}; all of it: {write_report(outcome.folder)}"


def _settings(config: str | None, given: Mapping[str, Any]) -> "Config":
    """The file's or recipe's options, with those given on top."""
    from training.config import Config
    from training.recipes import find_recipe

    return Config.read(find_recipe(config), given) if config else Config.of(given)


def _find_rate(run: "Run") -> None:
    from training.rate_finder import find_learning_rate

    search = find_learning_rate(run.trainer, run.batches)
    _, plot = search.write(run.folder.path)
    typer.echo(f"suggested: --learning-rate {search.suggestion:.1e}; the loss at each rate: {plot}")


def _go(run: "Run") -> "Outcome":
    """The run with a bar on stderr, and a line for each check."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    console.print(f"{run.folder.path}: {run.batches.steps} steps, {run.batches.steps_per_epoch} an epoch", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=run.batches.steps, completed=run.progress.step)

        def report(row: dict[str, Any]) -> None:
            bar.update(task, completed=row["step"], description=f"loss {row['loss']:.2f}")
            if "ap50" in row:
                facts = f"step {row['step']}, epoch {row['epoch'] + 1}: loss {row['loss']:.3f}"
                console.print(f"{facts}, val loss {row['val_loss']:.3f}, AP50 {row['ap50']:.3f}", highlight=False, soft_wrap=True)
                for sentence in row["sentences"]:
                    console.print(f"  {sentence}", style="yellow", highlight=False, soft_wrap=True)

        def filling(stand: "Filling") -> None:
            bar.update(task, description=f"features {stand.done:,} of {stand.views:,}")
            if stand.done in (0, stand.views):
                what = "computing" if stand.done == 0 else "kept:"
                facts = f"what the frozen layers say of {stand.views:,} views, {stand.bytes / 1e6:,.0f} MB"
                console.print(f"{what} {facts}, in {stand.path}", highlight=False, soft_wrap=True)

        return run.go(report, filling)


with_config_options(finetune)
