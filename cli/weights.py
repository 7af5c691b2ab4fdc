"""`boxwright weights`: pretrained models by name, and models as files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="Pretrained models by name, and models as files.", no_args_is_help=True)

SourceFile = typer.Argument(exists=True, dir_okay=False, readable=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `boxwright weights list` shows.")]


@app.command("list")
def list_() -> None:
    """Show the models that are known by name, and which of them are here."""
    from rich.console import Console

    from cli.weights_table import weights_table

    Console().print(weights_table())


@app.command()
def pull(
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", exists=True, dir_okay=False, help="Take this file instead of a download, verified likewise.")
    ] = None,
) -> None:
    """Fetch a model's file and verify it. A download that broke off goes on where it stopped."""
    from cli.download_bar import download_bar
    from weights import fetch

    with download_bar(name) as progress:
        path = fetch.pull(name, source=source, progress=progress)
    typer.echo(f"{path}: {path.stat().st_size:,} bytes.")


@app.command()
def verify(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="All that are here, if not given.")] = None) -> None:
    """Read pulled files again and compare them with their hashes."""
    from weights import fetch

    for each in [name] if name else fetch.pulled():
        found = fetch.verify(each)
        typer.echo(f"{each}: {found.size:,} bytes, sha256 {found.sha256}; agrees with {' and '.join(found.against) or 'its size'}.")


@app.command()
def remove(name: Name) -> None:
    """Delete a pulled file. The hash seen first stays on record."""
    from weights import fetch

    typer.echo(f"{name}: {'removed' if fetch.remove(name) else 'was not here'}.")


@app.command("import")
def import_(
    cfg: Annotated[Path, SourceFile],
    weights: Annotated[Path, SourceFile],
    *,
    labels: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A label on each line (Darknet's .names).")] = None,
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    float16: Annotated[bool, typer.Option("--float16", help="Store half the bits: half the size, scores within some thousandths.")] = False,
    layers: Annotated[int | None, typer.Option(min=1, help="Read the first N layers only, as a stem to train upon.")] = None,
    edges: Annotated[
        Literal["inclusive", "continuous"], typer.Option(help="Where boxes end; continuous for weights evaluated with eval=coco.")
    ] = "inclusive",
) -> None:
    """Make one model file of Darknet's .cfg and .weights."""
    from weights.darknet import read_darknet, read_labels
    from weights.model_file import save_model
    from weights.resolve import SUFFIX

    if out.suffix != SUFFIX or out.resolve() in {path.resolve() for path in (cfg, weights, labels) if path}:
        raise typer.BadParameter(f"{out} is not the name of a new model file; give one that ends in {SUFFIX}.", param_hint="--out")
    names = read_labels(labels) if labels else ()
    model = read_darknet(cfg, weights, labels=names, layers=layers, edges=edges, name=out.stem)
    save_model(model, out, dtype="float16" if float16 else "float32")
    typer.echo(f"{out}: {out.stat().st_size:,} bytes, {len(model.spec.labels)} labels, {len(model.spec.network)} layers.")


@app.command()
def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .safetensors file, or a model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Tell a model's layers, parameters, operations and origin."""
    import json

    from cli.download_bar import load_model
    from cli.summary import print_summary, summarise

    summary = summarise(load_model(model))
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        print_summary(summary)
