"""The `boxwright` command and its subcommands."""

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.extras import OPTIONAL_PACKAGES, missing_extra_message
from cli.output.terminal import print_error
from detector.errors import BoxwrightError
from weights.atomic_files import DISK_FULL

DETECT, TRAIN, MODELS = "Detect and serve", "Data and training", "Models"

COMMANDS = {
    "detect": DETECT,
    "serve": DETECT,
    "health": DETECT,
    "finetune": TRAIN,
    "evaluate": TRAIN,
    "report": TRAIN,
    "export": MODELS,
    "quantize": MODELS,
    "benchmark": MODELS,
}
GROUPS = {"keys": DETECT, "data": TRAIN, "weights": MODELS, "models": MODELS}
"""Commands with subcommands. Each value is the command's panel in `boxwright --help`."""

OTHER_NAMES = {"train": "finetune", "predict": "detect", "infer": "detect", "val": "evaluate", "test": "evaluate", "convert": "export"}
"""Names that other detectors use for our commands."""


class LazyCommands(Mapping[str, Any]):
    """The commands by name, each imported at its first use: `boxwright serve` does not import the options of training."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._names():
            raise KeyError(name)
        return _load_command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    @staticmethod
    def _names() -> tuple[str, ...]:
        return (*COMMANDS, *GROUPS)


@cache
def _load_command(name: str) -> Any:
    """Import a command and convert it to Typer's command object."""
    group, module = typer.Typer(add_completion=False, pretty_exceptions_enable=False), import_module(f"cli.commands.{name}")
    if name in GROUPS:
        group.add_typer(getattr(module, f"{name}_app"), name=name, rich_help_panel=GROUPS[name])
    else:
        group.callback()(_boxwright)  # without a callback, Typer turns an app with one command into that command
        group.command(name, rich_help_panel=COMMANDS[name])(getattr(module, f"{name}_command"))
    return typer.main.get_command(group).commands[name]  # type: ignore[attr-defined]  # get_command returns a group here


class LazyGroup(TyperGroup):
    """The command `boxwright`, which imports its subcommands only when they are used."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = LazyCommands()  # type: ignore[assignment]  # no command is added later

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command. For the name of a command in another tool, suggest ours."""
        if args[0] in OTHER_NAMES:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {OTHER_NAMES[args[0]]!r}?")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="boxwright",
    cls=LazyGroup,
    help="Detect objects in images, serve a detector over HTTP, and fine-tune it on your own data.",
    epilog="Run 'boxwright COMMAND --help' for the options of a command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        from detector.version import installed_version

        typer.echo(f"boxwright {installed_version()}")
        raise typer.Exit


@app.callback()
def _boxwright(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Options of `boxwright` itself."""


def run() -> None:
    """Run the command. An expected error becomes one sentence on stderr and exit code 2."""
    _replace_closed_streams()
    try:
        app()
    except BoxwrightError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL_PACKAGES:
            raise
        message = missing_extra_message("this command", package)
    except OSError as error:
        message = _message_of_os_error(error)
    print_error(message)
    sys.exit(2)


def _replace_closed_streams() -> None:
    """Discard the output if the caller has closed stdout or stderr, as services do: Python then has no stream."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  # open until the process ends


def _message_of_os_error(error: OSError) -> str:
    if error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return f"The output cannot be written: {error.strerror}." if error.errno in DISK_FULL else str(error)


if __name__ == "__main__":
    run()
