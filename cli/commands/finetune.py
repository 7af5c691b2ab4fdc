"""`boxwright finetune`: a better detector from your own photos."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli.config_options import with_config_options
from cli.finetune.publish import check_publish, publish_best, published_name
from cli.finetune.run import find_rate, go
from cli.finetune.workers import ended_at_once, join_group
from cli.options import ModelOption

if TYPE_CHECKING:
    from training.config import Config
    from training.distributed.process_group import ProcessGroup
    from training.distributed.synchronise import RunPlan
    from training.run.run import Run, RunOutcome


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
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Continue a run from its last checkpoint. Give DIR and --model if they have moved."),
    ] = None,
    publish: Annotated[
        Path | None, typer.Option("--publish", metavar="DIR", help="Add the best model to this folder of models, as `models add` does.")
    ] = None,
    publish_as: Annotated[str | None, typer.Option("--publish-as", metavar="NAME", help="Its name there; the data set's folder's.")] = None,
    find_learning_rate: Annotated[
        bool, typer.Option("--find-learning-rate", help="Only try rising learning rates, and plot the loss.")
    ] = False,
    workers: Annotated[
        str | None, typer.Option("--workers", metavar="HOST:PORT,...", help="Train on several at once; the same list on each of them.")
    ] = None,
    worker_index: Annotated[int | None, typer.Option("--worker-index", help="Which of the workers this one is; 0 writes the run.")] = None,
    **options: Any,
) -> None:
    """Fine-tune a model on annotated photos. best.safetensors in the run's folder is a model that `boxwright serve` takes."""
    given = {name: value for name, value in options.items() if value is not None}
    if resume and (config or given or find_learning_rate):
        raise typer.BadParameter(
            "--resume continues the run with its own options; give only DIR and --model, if they have moved, and --then."
        )
    if not dataset and not resume:
        raise typer.BadParameter("give the folder of the data set, or --resume RUN.")
    following = [_settings(recipe, given) for recipe in then or ()]  # a misspelled one is told of before the first run
    group = join_group(workers, worker_index, alone=find_learning_rate)

    def asked() -> "RunPlan":
        if resume:
            return _old_plan(resume, model)
        return _new_plan(cast(Path, dataset), (train_set, val_set), model, _settings(config, given))

    with ended_at_once(group):
        with group.fail_together():
            if publish and group.is_chief:
                check_publish(publish, published_name(publish_as, dataset, resume))
            run = _begun(group, asked, out, dataset=dataset, resume=resume, settings=_settings(config, given) if given or config else None)
            following = _chiefs(group, following)
        if find_learning_rate:
            find_rate(run)
            return
        outcome = _gone(run, following)
        if publish and group.is_chief:
            publish_best(outcome, publish, published_name(publish_as, dataset, resume))


def _gone(run: "Run", following: "list[Config]") -> "RunOutcome":
    """The run, and those after it, each from the best weights of the one before, until one is interrupted."""
    outcome = go(run)
    for settings in following:
        if outcome.interrupted:
            break
        run = _followed(run, outcome.folder, settings)
        outcome = go(run)
    return outcome


def _begun(
    group: "ProcessGroup",
    asked: Callable[[], "RunPlan"],
    out: Path,
    *,
    dataset: Path | None,
    resume: Path | None,
    settings: "Config | None",
) -> "Run":
    """The run that the chief was asked for. settings: what this worker was told of it, if it was told anything."""
    from training.distributed.synchronise import broadcast_plan, check_same_options
    from training.run.folder import RunFolder
    from training.run.run import Run

    plan = broadcast_plan(group, asked)
    if settings:
        check_same_options(plan.config, settings)
    task = replace(plan.task, dataset=str(dataset.resolve())) if dataset else plan.task
    if resume and group.is_chief:
        run = Run.resume(RunFolder(resume), task, plan.config, plan.model, group)
        run.folder.relocate(task)
        return run
    return Run.new(task, plan.config, plan.model, out, group)


def _followed(run: "Run", folder: Path, settings: "Config") -> "Run":
    """The run after that one, from its best weights."""
    task, sets = Path(run.setup.task.dataset), (run.setup.task.train_set, run.setup.task.val_set)
    with run.setup.group.fail_together():
        best = str(folder / "best.safetensors")
        return _begun(
            run.setup.group, lambda: _new_plan(task, sets, best, settings), folder.parent, dataset=task, resume=None, settings=settings
        )


def _chiefs(group: "ProcessGroup", following: "list[Config]") -> "list[Config]":
    """The runs that are to follow: the chief's word holds."""
    from training.config import Config

    return [Config.of(each) for each in group.broadcast(lambda: [settings.model_dump() for settings in following])]


def _new_plan(dataset: Path, sets: tuple[str, str], model: str | None, settings: "Config") -> "RunPlan":
    from cli.output.download_bar import load_model
    from training.distributed.synchronise import RunPlan
    from training.task import Task

    return RunPlan(Task(str(dataset.resolve()), *sets, _absolute(model)), settings, load_model(model))


def _absolute(model: str | None) -> str | None:
    """A model's name, or the absolute path of its file."""
    return str(Path(model).resolve()) if model and Path(model).is_file() else model


def _old_plan(run: Path, model: str | None) -> "RunPlan":
    from cli.output.download_bar import load_model
    from training.distributed.synchronise import RunPlan
    from training.run.folder import RunFolder

    _, task, settings = RunFolder.open(run)
    task = replace(task, model=_absolute(model)) if model else task
    return RunPlan(task, settings, load_model(task.model))


def _settings(name_or_file: str | None, given: Mapping[str, Any]) -> "Config":
    """The options of a recipe or file, with those given on top."""
    from training.config import Config
    from training.recipes import find_recipe

    return Config.read(find_recipe(name_or_file), given) if name_or_file else Config.of(given)


with_config_options(finetune)
