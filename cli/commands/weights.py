"""`boxwright weights`: pretrained models by name, and models as files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="Pretrained models by name, and models as files.", no_args_is_help=True)

SourceFile = typer.Argument(exists=True, dir_okay=False, readable=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `boxwright weights list` shows.")]


@app.command("list")
def list_() -> None:
    """Show the models that are known by name, and which of them are here. In a pipe: a line each, with tabs between."""
    from cli.output.weights_table import print_list

    print_list()


@app.command()
def pull(
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", exists=True, dir_okay=False, help="Take this file instead of a download, verified likewise.")
    ] = None,
) -> None:
    """Fetch a model's file and verify it. A download that broke off goes on where it stopped."""
    from cli.output.download_bar import download_bar
    from weights.hub import fetch

    try:
        with download_bar(name) as progress:
            path = fetch.pull(name, source=source, on_progress=progress)
    except KeyboardInterrupt:
        kept = "Nothing was copied." if source else f"What has come of {name} is kept; the same command goes on from there."
        typer.secho(f"boxwright: stopped. {kept}", fg="red", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"{path}: {path.stat().st_size:,} bytes.")


@app.command()
def verify(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="All that are here, if not given.")] = None) -> None:
    """Read pulled files again and compare them with their hashes. All are read, even if one is bad; exit code 2 if any is."""
    from cli.output.messages import messages_shown
    from cli.output.shown import shown
    from detector.errors import BoxwrightError
    from weights.hub.catalogue import entry_of
    from weights.hub.pulled import list_pulled, verify_pulled

    bad = 0
    for each in [name] if name else list_pulled():
        try:
            with messages_shown():
                found = verify_pulled(entry_of(each))
        except (BoxwrightError, OSError) as error:
            typer.secho(f"boxwright: {shown(str(error))}", fg="red", err=True)
            bad += 1
        else:
            agrees = " and ".join(found.checked_against) or "its size and layout"
            typer.echo(f"{each}: {found.size:,} bytes, sha256 {found.sha256}; agrees with {agrees}.")
    if bad:
        raise typer.Exit(2)


@app.command()
def remove(
    name: Name,
    forget: Annotated[bool, typer.Option("--forget", help="Forget its recorded hash too: the next file may be another.")] = False,
) -> None:
    """Delete a pulled file, and what an unfinished download left. The hash seen first stays on record, unless --forget."""
    from cli.output.messages import messages_shown
    from weights.hub.catalogue import entry_of
    from weights.hub.pulled import remove_pulled

    with messages_shown():
        there = remove_pulled(entry_of(name), forget=forget)
    typer.echo(f"{name}: {'removed' if there else 'was not here'}{', and no hash is on record for it now' if forget else ''}.")


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
    from weights.formats.darknet.weights import read_darknet, read_labels
    from weights.formats.safetensors import save_model
    from weights.hub.resolve import MODEL_SUFFIX

    if out.suffix != MODEL_SUFFIX or out.resolve() in {path.resolve() for path in (cfg, weights, labels) if path}:
        raise typer.BadParameter(f"{out} is not the name of a new model file; give one that ends in {MODEL_SUFFIX}.", param_hint="--out")
    names = read_labels(labels) if labels else ()
    model = read_darknet(cfg, weights, labels=names, layers=layers, edges=edges, name=out.stem)
    save_model(model, out, dtype="float16" if float16 else "float32")
    typer.echo(f"{out}: {out.stat().st_size:,} bytes, {len(model.spec.labels)} labels, {len(model.spec.network)} layers.")


@app.command()
def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .safetensors file, or a model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Tell a model's layers, parameters, operations and origin; of one that is not here, what the catalogue knows. Fetches nothing."""
    import json

    from cli.output.download_bar import load_model
    from cli.output.entry_facts import absent_entry, print_facts, summarise_entry
    from cli.output.summary import print_summary, summarise

    entry = absent_entry(model)
    summary = summarise_entry(entry) if entry else summarise(load_model(model))
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    elif entry:
        print_facts(summary)
    else:
        print_summary(summary)
