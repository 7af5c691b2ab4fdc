"""`boxwright models`: manage the model folder that `boxwright serve --models` watches."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import JsonOption

models_app = typer.Typer(help="Manage the model folder that 'boxwright serve --models DIR' watches.", no_args_is_help=True)

FolderOption = Annotated[
    Path, typer.Option("--models", metavar="DIR", envvar="BOXWRIGHT_MODELS", help="Use this existing model folder.", show_default=False)
]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model's name in the folder.", show_default=False)]
VersionNumber = Annotated[int, typer.Argument(metavar="VERSION", min=0, help="The version's number.", show_default=False)]


@models_app.command("list")
def models_list(folder: FolderOption, as_json: JsonOption = False) -> None:
    """List all versions with their state: newest (the served one), kept, aside or damaged.

    In a pipe, tab-separated: name, version, state, size, classes, AP50, file.
    """
    from cli.output.model_lists import print_model_versions

    print_model_versions(folder, as_json=as_json)


@models_app.command("add")
def models_add(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A .safetensors file, or a name from 'boxwright weights list'.", show_default=False)
    ],
    folder: FolderOption,
    *,
    name: Annotated[str | None, typer.Option("--name", help="Serve it under this name. [dim]\\[default: the name of MODEL][/dim]")] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="Keep the newest N versions, and as many set aside; delete others. [dim]\\[default: keep all][/dim]",
        ),
    ] = None,
) -> None:
    """Add a model as the newest version of its name. A running service loads it without a restart.

    The copy is read and run on a test image before it becomes a version.
    """
    from cli.output.progress import load_named_model
    from cli.output.terminal import print_next_step
    from weights.embedded import EMBEDDED
    from weights.hub.resolve import MODEL_SUFFIX
    from weights.repository.publish import add_version

    path = Path(model)
    source = path if path.suffix == MODEL_SUFFIX else EMBEDDED[model] if model in EMBEDDED else load_named_model(model)
    version = add_version(folder, name or path.stem, source, keep=keep)
    typer.echo(f"{version.name}: version {version.number} is now the newest ({version.path.stat().st_size:,} bytes).")
    print_next_step("boxwright", "serve", "--models", folder, when="unless a service watches the folder already")


@models_app.command("promote")
def models_promote(name: ModelName, number: VersionNumber, folder: FolderOption) -> None:
    """Serve this version. Newer versions are set aside. A version that was set aside is restored."""
    from weights.repository.publish import promote_version

    version = promote_version(folder, name, number)
    typer.echo(f"{version.name}: version {version.number} is now the newest.")


@models_app.command("rollback")
def models_rollback(name: ModelName, folder: FolderOption) -> None:
    """Set the newest version aside, so that the previous version is served."""
    from weights.repository.publish import rollback_version

    version = rollback_version(folder, name)
    typer.echo(f"{version.name}: version {version.number} is now the newest.")


@models_app.command("remove")
def models_remove(
    name: ModelName,
    folder: FolderOption,
    *,
    number: Annotated[
        int | None, typer.Option("--version", metavar="N", min=0, help="Delete only this version. [dim]\\[default: all versions][/dim]")
    ] = None,
) -> None:
    """Delete a model, or one of its versions. A running service unloads it."""
    from weights.repository.publish import remove_version

    numbers = ", ".join(str(version.number) for version in remove_version(folder, name, number))
    typer.echo(f"{name}: removed version {numbers}.")
