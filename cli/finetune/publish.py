"""Add the best model of a run to a model folder (--publish)."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from training.run.run import RunOutcome


def published_name(publish_as: str | None, dataset: Path | None, resume: Path | None) -> str:
    """Return the given name, or the name of the data set's folder."""
    from training.run.folder import RunFolder

    if publish_as or dataset:
        return publish_as or Path(dataset or "").resolve().name
    _, task, _ = RunFolder.open(resume or Path())
    return Path(task.dataset).name


def check_publish(folder: Path, name: str) -> None:
    """Check folder and name before the run starts. Raises typer.BadParameter."""
    from weights.repository.layout import MODEL_NAME

    if not folder.is_dir():
        raise typer.BadParameter(f"the folder {folder} does not exist. Create it first.", param_hint="--publish")
    if not MODEL_NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is not a valid model name. Use letters, digits, '.', '_' and '-'.", param_hint="--publish-as")


def publish_best(outcome: "RunOutcome", folder: Path, name: str) -> None:
    """Add the best model as a new version, unless the run was interrupted. Raises what `add_version` raises."""
    from weights.repository.publish import add_version

    if outcome.interrupted or outcome.best is None:
        reason = "the run was interrupted" if outcome.interrupted else "the run was never validated"
        typer.echo(f"{folder}: nothing was published, because {reason}.")
        return
    version = add_version(folder, name, outcome.folder / "best.safetensors")
    typer.echo(f"{folder}: published {name} version {version.number}.")
