"""`boxwright models`: a folder of models by name and version, which `boxwright serve --models` watches."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The models in a folder that `boxwright serve --models DIR` watches.", no_args_is_help=True)

FolderOption = Annotated[Path, typer.Option("--models", metavar="DIR", envvar="BOXWRIGHT_MODELS", help="The folder; it must be there.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name in the folder.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", min=0)]


@app.command("list")
def list_(
    folder: FolderOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show each version: which one is served, which are kept, which were set aside. In a pipe: a line each, with tabs between."""
    from cli.output.models_table import print_json, print_table

    (print_json if as_json else print_table)(folder)


@app.command()
def add(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .safetensors file, or a name that `boxwright weights list` shows.")],
    folder: FolderOption,
    *,
    name: Annotated[str | None, typer.Option("--name", help="The name to serve it under; the file's own, if not given.")] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Delete all but the newest so many versions; none, if not given.")
    ] = None,
) -> None:
    """Make a model the newest version of its name, which a running service takes up by itself.

    A copy is made, read and run on a picture first; only then is it a version.
    """
    from cli.output.download_bar import load_model
    from weights.embedded import EMBEDDED
    from weights.hub.resolve import MODEL_SUFFIX
    from weights.repository.publish import add_version

    path = Path(model)
    source = path if path.suffix == MODEL_SUFFIX else EMBEDDED[model] if model in EMBEDDED else load_model(model)
    version = add_version(folder, name or path.stem, source, keep=keep)
    typer.echo(f"{version.name}: version {version.number} is the newest now, {version.path.stat().st_size:,} bytes.")


@app.command()
def promote(name: Name, number: Number, folder: FolderOption) -> None:
    """Make that version the one to serve. Those above it are set aside, and it comes back if it was itself."""
    from weights.repository.publish import promote_version

    version = promote_version(folder, name, number)
    typer.echo(f"{version.name}: version {version.number} is the newest now.")


@app.command()
def rollback(name: Name, folder: FolderOption) -> None:
    """Go back to the version before the newest, which is set aside."""
    from weights.repository.publish import rollback_version

    version = rollback_version(folder, name)
    typer.echo(f"{version.name}: version {version.number} is the newest now.")


@app.command()
def remove(
    name: Name,
    folder: FolderOption,
    *,
    number: Annotated[int | None, typer.Option("--version", min=0, help="Only this version, set aside or not.")] = None,
) -> None:
    """Delete a model, or one version of it. A running service unloads it."""
    from weights.repository.publish import remove_version

    numbers = ", ".join(str(version.number) for version in remove_version(folder, name, number))
    typer.echo(f"{name}: removed {numbers}.")
