"""What `boxwright finetune --publish` adds to a folder of models that a service may be watching."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from training.run.run import RunOutcome


def published_name(publish_as: str | None, dataset: Path | None, resume: Path | None) -> str:
    """The name given, else that of the data set's folder."""
    from training.run.folder import RunFolder

    if publish_as or dataset:
        return publish_as or Path(dataset or "").resolve().name
    _, task, _ = RunFolder.open(resume or Path())
    return Path(task.dataset).name


def check_publish(folder: Path, name: str) -> None:
    """What would fail after hours of training fails before. Raises typer.BadParameter."""
    from weights.repository.layout import NAME

    if not folder.is_dir():
        raise typer.BadParameter(f"{folder}: there is no such folder. Make it first.", param_hint="--publish")
    if not NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is no name for a model: letters, digits, '.', '_' and '-'.", param_hint="--publish-as")


def publish_best(outcome: "RunOutcome", folder: Path, name: str) -> None:
    """Add the best model, unless the run was cut short; say which version it is. Raises what `store_changes.add` does."""
    from weights.repository.publish import add

    if outcome.interrupted or outcome.best is None:
        typer.echo(f"{folder}: nothing is published, as the run {'was interrupted' if outcome.interrupted else 'was never checked'}.")
        return
    version = add(folder, name, outcome.folder / "best.safetensors")
    typer.echo(f"{folder}: {name} has version {version.number} now.")
