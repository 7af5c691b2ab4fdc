"""`boxwright finetune`: a better detector from your own photos."""

import atexit
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli.config_options import with_config_options
from cli.options import ModelOption
from detector.errors import BoxwrightError

if TYPE_CHECKING:
    from training.config import Config
    from training.feature_cache import Filling
    from training.finetune import Outcome, Run
    from training.joining import Plan
    from training.team import Team


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
    find_rate: Annotated[bool, typer.Option("--find-learning-rate", help="Only try rising learning rates, and plot the loss.")] = False,
    workers: Annotated[
        str | None, typer.Option("--workers", metavar="HOST:PORT,...", help="Train on several at once; the same list on each of them.")
    ] = None,
    worker_index: Annotated[int | None, typer.Option("--worker-index", help="Which of the workers this one is; 0 writes the run.")] = None,
    **options: Any,
) -> None:
    """Fine-tune a model on annotated photos. best.safetensors in the run's folder is a model that `boxwright serve` takes."""
    given = {name: value for name, value in options.items() if value is not None}
    if resume and (dataset or config or given or find_rate):
        raise typer.BadParameter("--resume goes on with the run as it was begun; give no folder and no other options.")
    if not dataset and not resume:
        raise typer.BadParameter("give the folder of the data set, or --resume RUN.")
    team = _team(workers, worker_index, alone=find_rate)

    from training.errors import TrainingError
    from training.finetune import Run
    from training.joining import check_same_options, same_plan
    from training.report import write_report
    from training.run_folder import RunFolder

    def asked() -> "Plan":
        return _new_plan(dataset, (train_set, val_set), model, _settings(config, given)) if dataset else _old_plan(cast(Path, resume))

    with _ended_at_once(team):
        with team.together():
            plan = same_plan(team, asked)
            if given or config:
                check_same_options(plan.config, _settings(config, given))
            task = replace(plan.task, dataset=str(dataset.resolve())) if dataset else plan.task
            if resume and team.is_chief:
                run = Run.resumed(RunFolder(resume), task, plan.config, plan.model, team)
            else:
                run = Run.new(task, plan.config, plan.model, out, team)
        if find_rate:
            _find_rate(run)
            return
        try:
            outcome = _go(run)
        except TrainingError:  # a run that broke off: its report is wanted most
            if team.is_chief:
                write_report(run.folder.path)
            raise
        typer.echo(f"{outcome.why} {_told_of(run, outcome) if team.is_chief else 'All of it is with worker 0.'}")


@contextmanager
def _ended_at_once(team: "Team") -> Iterator[None]:
    """One of several workers ends without TensorFlow's tidying up, which was seen to wait for ever for a worker that is gone."""
    code = 1

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    if team.count > 1:
        atexit.register(end)
    try:
        yield
        code = 0
    except (BoxwrightError, OSError):  # as `cli.main` ends them
        code = 2
        raise


def _told_of(run: "Run", outcome: "Outcome") -> str:
    """Where a run's results are; its report is written."""
    from training.report import write_report

    best = "no check was made" if outcome.best is None else f"best {run.config.watch} {abs(outcome.best):.3f} at step {outcome.best_step}"
    return f"{best}: {outcome.folder / 'best.safetensors'}; all of it: {write_report(outcome.folder)}"


def _new_plan(dataset: Path, sets: tuple[str, str], model: str | None, settings: "Config") -> "Plan":
    from cli.download_bar import load_model
    from training.joining import Plan
    from training.run_folder import Task

    weights = str(Path(model).resolve()) if model and Path(model).is_file() else model
    return Plan(Task(str(dataset.resolve()), *sets, weights), settings, load_model(model))


def _old_plan(run: Path) -> "Plan":
    from cli.download_bar import load_model
    from training.joining import Plan
    from training.run_folder import RunFolder

    _, task, settings = RunFolder.open(run)
    return Plan(task, settings, load_model(task.model))


def _settings(config: str | None, given: Mapping[str, Any]) -> "Config":
    """The file's or recipe's options, with those given on top."""
    from training.config import Config
    from training.recipes import find_recipe

    return Config.read(find_recipe(config), given) if config else Config.of(given)


def _team(workers: str | None, index: int | None, *, alone: bool) -> "Team":
    """This process alone, or with the others, when all of them are there. TensorFlow is imported not before here."""
    from training.cluster import Cluster

    cluster = Cluster.of(workers, index, os.environ)
    if cluster is None or len(cluster.addresses) == 1:
        from training.team import ALONE

        return ALONE
    if alone:
        raise typer.BadParameter("--find-learning-rate is for one worker; give no --workers.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what TensorFlow writes of a worker that is gone, we say in a sentence
    from training.workers import Workers

    typer.echo(f"worker {cluster.index} of {', '.join(cluster.addresses)}: waiting for the others", err=True)
    return Workers.joined(cluster)


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
    where = run.folder.path if run.team.is_chief else f"worker {run.team.share.index}"
    console.print(f"{where}: {run.batches.steps} steps, {run.batches.steps_per_epoch} an epoch", highlight=False)
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
