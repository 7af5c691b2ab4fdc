"""`boxwright weights`: models as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.spec import Model

app = typer.Typer(help="Models as files: import, look into.", no_args_is_help=True)

SourceFile = typer.Argument(exists=True, dir_okay=False, readable=True)


@app.command("import")
def import_(
    cfg: Annotated[Path, SourceFile],
    weights: Annotated[Path, SourceFile],
    *,
    labels: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A label on each line (Darknet's .names).")] = None,
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    float16: Annotated[bool, typer.Option("--float16", help="Store half the bits: half the size, scores within some thousandths.")] = False,
    layers: Annotated[int | None, typer.Option(min=1, help="Read the first N layers only, as a stem to train upon.")] = None,
) -> None:
    """Make one model file of Darknet's .cfg and .weights."""
    from weights.darknet import read_darknet, read_labels
    from weights.model_file import save_model

    names = read_labels(labels) if labels else ()
    model = read_darknet(cfg, weights, labels=names, layers=layers, name=out.stem)
    save_model(model, out, dtype="float16" if float16 else "float32")
    typer.echo(f"{out}: {out.stat().st_size:,} bytes, {len(model.spec.labels)} labels, {len(model.spec.network)} layers.")


@app.command()
def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .safetensors file, or a model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Tell a model's layers, parameters, operations and origin."""
    from weights import resolve

    loaded = resolve.load(model)
    if as_json:
        import json

        from cli.summary import summarise

        typer.echo(json.dumps(summarise(loaded), indent=2))
    else:
        _print(loaded)


def _print(model: "Model") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cli.summary import summarise

    summary = summarise(model)
    table = Table("layer", "what")
    for heading in ("output", "parameters", "MFLOP"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in summary["layers"]:
        output = " x ".join(str(side) for side in layer["output"])
        table.add_row(layer["name"], layer["what"], output, f"{layer['parameters']:,}", f"{layer['operations'] / 1e6:,.1f}")
    console = Console()
    console.print(table)
    origin = {f"provenance.{name}": value for name, value in summary.pop("provenance").items()}
    for name, value in (summary | origin).items():
        if name != "layers":
            console.print(Text.assemble((f"{name}: ", "bold"), _shown(value)))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
