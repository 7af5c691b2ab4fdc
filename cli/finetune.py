"""`boxwright finetune`: a better detector from your own photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.config_options import with_config_options
from cli.options import ModelOption

if TYPE_CHECKING:
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
    resume: Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Go on with a run from its last checkpoint.")] = None,
    publish: Annotated[
        Path | None, typer.Option("--publish", metavar="DIR", help="Add the best model to this folder of models, as `models add` does.")
    ] = None,
    publish_as: Annotated[str | None, typer.Option("--publish-as", metavar="NAME", help="Its name there; the data set's folder's.")] = None,
    find_rate: Annotated[bool, typer.Option("--find-learning-rate", help="Only try rising learning rates, and plot the loss.")] = False,
    **options: Any,
) -> None:
    """Fine-tune a model on annotated photos. best.safetensors in the run's folder is a model that `boxwright serve` takes."""
    from cli.download_bar import load_model
    from training.config import Config
    from training.errors import TrainingError
    from training.finetune import Run
    from training.recipes import find_recipe
    from training.report import write_report
    from training.run_folder import RunFolder, Task

    given = {name: value for name, value in options.items() if value is not None}
    if resume:
        if dataset or config or given or find_rate:
            raise typer.BadParameter("--resume goes on with the run as it was begun; give no folder and no other options.")
        folder, task, settings = RunFolder.open(resume)
    else:
        if not dataset:
            raise typer.BadParameter("give the folder of the data set, or --resume RUN.")
        settings = Config.read(find_recipe(config), given) if config else Config.of(given)
        task = Task(str(dataset.resolve()), train_set, val_set, str(Path(model).resolve()) if model and Path(model).is_file() else model)
    name = publish_as or Path(task.dataset).name
    if publish:
        _check_publish(publish, name)
    loaded = load_model(task.model)
    run = Run.resumed(folder, task, settings, loaded) if resume else Run.new(task, settings, loaded, out)
    if find_rate:
        _find_rate(run)
        return
    try:
        outcome = _go(run)
    except TrainingError:  # a run that broke off: its report is wanted most
        write_report(run.folder.path)
        raise
    page = write_report(outcome.folder)
    best = "no check was made" if outcome.best is None else f"best {run.config.watch} {abs(outcome.best):.3f} at step {outcome.best_step}"
    typer.echo(f"{outcome.why} {best}: {outcome.folder / 'best.safetensors'}; all of it: {page}")
    if publish:
        _publish(outcome, publish, name)


def _check_publish(folder: Path, name: str) -> None:
    """What would fail after hours of training fails before."""
    from weights.store import NAME

    if not folder.is_dir():
        raise typer.BadParameter(f"{folder}: there is no such folder. Make it first.", param_hint="--publish")
    if not NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is no name for a model: letters, digits, '.', '_' and '-'.", param_hint="--publish-as")


def _publish(outcome: "Outcome", folder: Path, name: str) -> None:
    from weights.store_changes import add

    if outcome.interrupted or outcome.best is None:
        typer.echo(f"{folder}: nothing is published, as the run {'was interrupted' if outcome.interrupted else 'was never checked'}.")
        return
    version = add(folder, name, outcome.folder / "best.safetensors")
    typer.echo(f"{folder}: {name} has version {version.number} now.")


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
