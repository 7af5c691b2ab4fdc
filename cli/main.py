"""`boxwright`: the command and its subcommands."""

import sys
from typing import Annotated, NoReturn

import typer

from cli import data, keys, models, weights
from cli.detect import detect
from cli.evaluate import evaluate
from cli.export import export
from cli.finetune import finetune
from cli.health import health
from cli.quantize import quantize
from cli.report import report
from cli.serve import serve
from cli.shown import shown
from detector.errors import BoxwrightError

app = typer.Typer(
    name="boxwright",
    help="Object detection with YOLOv2-type networks: over HTTP, or from the command line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(health)
app.command()(detect)
app.command()(evaluate)
app.command()(export)
app.command()(finetune)
app.command()(quantize)
app.command()(report)
app.add_typer(models.app, name="models")
app.add_typer(weights.app, name="weights")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")


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
