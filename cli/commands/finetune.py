"""`boxwright finetune`: train a detector on annotated images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli.finetune.options import with_training_options
from cli.finetune.publish import check_publish, publish_best, published_name
from cli.finetune.workers import exit_without_cleanup, join_workers
from cli.options import ModelOption, TrainingConfigOption

if TYPE_CHECKING:
    from training.config.options import Config
    from training.config.task import Task
    from training.distributed.process_group import ProcessGroup
    from training.distributed.synchronise import RunPlan
    from training.run.run import Run, RunOutcome

PUBLISH, WORKERS = "Publish", "Several workers"


def finetune_command(
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET",
            exists=True,
            file_okay=False,
            help="A VOC-style folder with image sets; see 'boxwright data split'.",
            show_default=False,
        ),
    ] = None,
    *,
    model: ModelOption = None,
    train_set: Annotated[str, typer.Option("--set", metavar="NAME", help="Train on this image set of ImageSets/Main.")] = "train",
    val_set: Annotated[str, typer.Option("--val-set", metavar="NAME", help="Validate on this image set.")] = "val",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Create the run's folder here: DIR/DATASET-001.")] = Path("runs"),
    background: Annotated[
        Path | None,
        typer.Option(
            "--background",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Count false alarms on these images, which must not show the new objects.",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", metavar="DIR", exists=True, file_okay=False, help="Add these images, labelled or not, to the memory before the run."
        ),
    ] = None,
    config: TrainingConfigOption = None,
    then: Annotated[
        list[str] | None,
        typer.Option(
            "--then", metavar="FILE_OR_RECIPE", help="Then train again with these options, from the best weights. Can be repeated."
        ),
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Continue a run from its last checkpoint.")] = None,
    find_learning_rate: Annotated[
        bool, typer.Option("--find-learning-rate", help="Only search for a learning rate: raise it step by step, and plot the loss.")
    ] = False,
    publish: Annotated[
        Path | None, typer.Option("--publish", metavar="DIR", help="Add the best model to this model folder.", rich_help_panel=PUBLISH)
    ] = None,
    publish_as: Annotated[
        str | None,
        typer.Option(
            "--publish-as", metavar="NAME", help="Publish under this name. [dim]\\[default: DATASET][/dim]", rich_help_panel=PUBLISH
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers", metavar="HOST:PORT,...", help="Train on these workers; give each the same list.", rich_help_panel=WORKERS
        ),
    ] = None,
    worker_index: Annotated[
        int | None,
        typer.Option(
            "--worker-index",
            metavar="N",
            help="This worker's position in --workers, from 0. Worker 0 writes the run's folder.",
            rich_help_panel=WORKERS,
        ),
    ] = None,
    **options: Any,
) -> None:
    """Fine-tune a model on annotated images.

    The run's folder gets best.safetensors, which 'boxwright detect' and 'boxwright serve' accept, and report.html.

    Ctrl-C saves a checkpoint; the exit code is then 130.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if resume and (config or given or find_learning_rate or background or replay):
        raise typer.BadParameter(
            "--resume uses the options of the run. Omit training options, --config, --find-learning-rate, --background and --replay."
        )
    folders = {name: str(folder.resolve()) for name, folder in (("background", background), ("replay", replay)) if folder}
    settings, following = _check_arguments(dataset, (train_set, val_set), model, resume, config, given, then or [])
    _check_background(background)
    from cli.extras import start_tensorflow
    from cli.finetune.display import find_rate
    from training.config.task import Task

    start_tensorflow("boxwright finetune")
    group = join_workers(workers, worker_index, single_process=find_learning_rate)

    def chief_plan() -> "RunPlan":
        if resume:
            return _resumed_plan(resume, model)
        return _new_plan(Task(str(cast(Path, dataset).resolve()), train_set, val_set, _absolute(model), **folders), settings)

    with exit_without_cleanup(group):
        with group.fail_together():
            if publish and group.is_chief:
                check_publish(publish, published_name(publish_as, dataset, resume))
            run = _begin(group, chief_plan, out, dataset=dataset, resume=resume, settings=settings if given or config else None)
            following = _share_following(group, following)
        if find_learning_rate:
            find_rate(run)
            return
        outcome = _train_all(run, following)
        if publish and group.is_chief:
            publish_best(outcome, publish, published_name(publish_as, dataset, resume))
        if outcome.interrupted:
            raise typer.Exit(130)


def _check_arguments(
    dataset: Path | None,
    image_sets: tuple[str, str],
    model: str | None,
    resume: Path | None,
    config: str | None,
    given: dict[str, Any],
    then: list[str],
) -> "tuple[Config, list[Config]]":
    """Check everything that needs no TensorFlow. Return the options of the run, and of those that follow it."""
    if not dataset and not resume:
        raise typer.BadParameter("give the folder of the data set, or --resume RUN.")
    from cli.checks import warn_of_unread_annotations
    from cli.extras import require_packages
    from cli.finetune.plan import read_config, read_plan, warn_about_small_validation_set, with_enough_steps
    from training.run.folder import RunFolder
    from weights.hub.resolve import check_model

    require_packages("boxwright finetune", "tensorflow", "keras", "pycocotools", "matplotlib")
    settings, following = read_config(config, given), [read_config(recipe, given) for recipe in then]
    if resume:
        folder, task, settings = RunFolder.open(resume)
        folder.check_unlocked()
        check_model(model or task.model)
    elif dataset:
        plan = read_plan(dataset, image_sets[:1] if settings.overfit else image_sets, model, settings)
        warn_of_unread_annotations(dataset)
        if not settings.overfit:
            warn_about_small_validation_set(plan.samples[image_sets[1]], image_sets[1])
        settings = plan.config if config else with_enough_steps(plan.config, len(plan.samples[image_sets[0]]), given)
    return settings, following


def _check_background(folder: Path | None) -> None:
    """Check that the folder, if any, has images. The run reads them only at its end. Raises DatasetError."""
    from training.evaluation.false_alarms import background_images

    if folder:
        background_images(folder)


def _train_all(run: "Run", following: "list[Config]") -> "RunOutcome":
    """Train a sequence of runs, each from the best weights of the previous one. Stop when one is interrupted."""
    from cli.finetune.display import train

    outcome = train(run)
    for settings in following:
        if outcome.interrupted:
            break
        run = _next_run(run, outcome.folder, settings)
        outcome = train(run)
    return outcome


def _begin(
    group: "ProcessGroup",
    chief_plan: "Callable[[], RunPlan]",
    out: Path,
    *,
    dataset: Path | None,
    resume: Path | None,
    settings: "Config | None",
) -> "Run":
    """Start or resume the chief's run on every worker. settings: this worker's own options, or None."""
    from training.distributed.synchronise import broadcast_plan, check_same_options
    from training.features.memory_format import memory_from_entries
    from training.run.folder import RunFolder
    from training.run.run import Run

    plan = broadcast_plan(group, chief_plan)
    if settings:
        check_same_options(plan.config, settings)
    task = replace(plan.task, dataset=str(dataset.resolve())) if dataset else plan.task
    memory = memory_from_entries(plan.memory, plan.model) if plan.memory else None
    if resume and group.is_chief:
        run = Run.resume(RunFolder(resume), task, plan.config, plan.model, group, memory)
        run.folder.relocate(task)
        return run
    return Run.new(task, plan.config, plan.model, out, group, memory)


def _next_run(run: "Run", folder: Path, settings: "Config") -> "Run":
    """Start the run that follows, from the best weights in `folder`."""
    task = replace(run.setup.task, model=str((folder / "best.safetensors").resolve()))
    with run.setup.group.fail_together():
        return _begin(
            run.setup.group, lambda: _new_plan(task, settings), folder.parent, dataset=Path(task.dataset), resume=None, settings=settings
        )


def _share_following(group: "ProcessGroup", following: "list[Config]") -> "list[Config]":
    """Return the chief's options of the runs that follow, on every worker."""
    from training.config.options import Config

    return [Config.of(each) for each in group.broadcast(lambda: [settings.model_dump() for settings in following])]


def _new_plan(task: "Task", settings: "Config") -> "RunPlan":
    from cli.output.progress import load_named_memory, load_named_model
    from training.distributed.synchronise import RunPlan

    return RunPlan(task, settings, load_named_model(task.model), load_named_memory(task.model))


def _absolute(model: str | None) -> str | None:
    """Return the absolute path of a model file; a name stays as it is."""
    return str(Path(model).resolve()) if model and Path(model).is_file() else model


def _resumed_plan(run: Path, model: str | None) -> "RunPlan":
    from training.run.folder import RunFolder

    _, task, settings = RunFolder.open(run)
    return _new_plan(replace(task, model=_absolute(model)) if model else task, settings)


with_training_options(finetune_command)
