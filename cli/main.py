"""`boxwright`: the command and its subcommands."""

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cli.output.shown import shown
from detector.errors import BoxwrightError

COMMANDS = ("serve", "health", "detect", "evaluate", "export", "finetune", "quantize", "report")
GROUPS = ("models", "weights", "data", "keys")


class _Imported(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for: a service that starts has no use for the sixty options of training."""

    def __getitem__(self, name: str) -> Any:
        if name not in (*COMMANDS, *GROUPS):
            raise KeyError(name)
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*COMMANDS, *GROUPS))

    def __len__(self) -> int:
        return len(COMMANDS) + len(GROUPS)


@cache
def _command(name: str) -> Any:
    """What typer makes of it, for the group that is `boxwright`."""
    group, module = typer.Typer(add_completion=False, pretty_exceptions_enable=False), import_module(f"cli.commands.{name}")
    if name in GROUPS:
        group.add_typer(module.app, name=name)
    else:
        group.callback()(_main)  # without one, it would be no group but its only command
        group.command(name)(getattr(module, name))
    return typer.main.get_command(group).commands[name]  # type: ignore[attr-defined]  # it is a group


class _Boxwright(TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Imported()  # type: ignore[assignment]  # nobody adds to it


app = typer.Typer(
    name="boxwright",
    cls=_Boxwright,
    help="Object detection with YOLOv2-type networks: over HTTP, or from the command line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from service.version import installed_version

        typer.echo(f"boxwright {installed_version()}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")] = False,
) -> None:
    """The options of `boxwright` itself."""


def run() -> None:
    """Run the command; what Boxwright or the system refuses ends as one sentence on stderr and exit code 2."""
    try:
        app()
    except BoxwrightError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}." if error.filename and error.strerror else str(error))


def _refuse(sentence: str) -> NoReturn:
    typer.secho(f"boxwright: {shown(sentence)}", fg="red", err=True)
    sys.exit(2)


if __name__ == "__main__":
    run()
