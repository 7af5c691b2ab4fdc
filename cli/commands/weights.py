"""`boxwright weights`: download pretrained models, import Darknet files, and inspect model files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import DatasetArgument, JsonOption
from detector.messages import count_of

weights_app = typer.Typer(help="Download pretrained models, import Darknet weights, inspect model files.", no_args_is_help=True)

CatalogueName = Annotated[str, typer.Argument(metavar="NAME", help="A name from 'boxwright weights list'.", show_default=False)]


@weights_app.command("list")
def weights_list() -> None:
    """List the models of the package and the catalogue. "included": in the package; "pulled": downloaded; "~": estimated size.

    In a pipe, tab-separated: name, status, size, classes, AP50, licence.
    """
    from cli.output.model_lists import print_known_models

    print_known_models()


@weights_app.command("pull")
def weights_pull(
    name: CatalogueName,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", exists=True, dir_okay=False, help="Use this local file instead of a download.")
    ] = None,
) -> None:
    """Download a model and verify it. Continues an interrupted download."""
    from cli.output.progress import download_bar
    from cli.output.terminal import print_error, print_next_step
    from weights.hub import fetch
    from weights.hub.catalogue import entry_of

    entry_of(name)
    try:
        with download_bar(name) as report:
            path = fetch.pull(name, source=source, on_progress=report)
    except KeyboardInterrupt:
        kept = "Nothing was copied." if source else f"The same command continues the download of {name}."
        print_error(f"interrupted. {kept}")
        raise typer.Exit(130) from None
    typer.echo(f"{path}: {path.stat().st_size:,} bytes.")
    print_next_step("boxwright", "detect", "IMAGE", "--model", name)


@weights_app.command("verify")
def weights_verify(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A downloaded model. [dim]\\[default: all][/dim]", show_default=False)
    ] = None,
) -> None:
    """Compare downloaded files with their hashes. Exit code 2 if a file is damaged."""
    from cli.output.terminal import print_error, print_note, show_log_messages
    from detector.errors import BoxwrightError
    from weights.hub.catalogue import entry_of
    from weights.hub.pulled import list_pulled, verify_pulled

    if name:
        entry_of(name)
    names = [name] if name else list_pulled()
    if not names:
        print_note("There are no downloaded models to verify. 'boxwright weights pull NAME' downloads one.")
    damaged = 0
    for each in names:
        try:
            with show_log_messages():
                found = verify_pulled(entry_of(each))
        except (BoxwrightError, OSError) as error:
            print_error(str(error))
            damaged += 1
        else:
            evidence = " and ".join(found.checked_against) or "its size and layout"
            typer.echo(f"{each}: {found.size:,} bytes, sha256 {found.sha256}; matches {evidence}.")
    if damaged:
        raise typer.Exit(2)


@weights_app.command("remove")
def weights_remove(
    name: CatalogueName,
    forget: Annotated[bool, typer.Option("--forget", help="Also forget the recorded hash, so that a different file is accepted.")] = False,
) -> None:
    """Delete a downloaded file, or an unfinished download. The recorded hash is kept."""
    from cli.output.terminal import show_log_messages
    from weights.hub.catalogue import entry_of
    from weights.hub.pulled import remove_pulled

    entry = entry_of(name)
    with show_log_messages():
        existed = remove_pulled(entry, forget=forget)
    typer.echo(f"{name}: {'removed' if existed else 'was not downloaded'}{'; its recorded hash is forgotten' if forget else ''}.")


@weights_app.command("import")
def weights_import(
    cfg: Annotated[
        Path, typer.Argument(metavar="CFG", exists=True, dir_okay=False, readable=True, show_default=False, help="Darknet's .cfg file.")
    ],
    weights: Annotated[
        Path,
        typer.Argument(metavar="WEIGHTS", exists=True, dir_okay=False, readable=True, show_default=False, help="Darknet's .weights file."),
    ],
    *,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Read the class names from this file, one per line (.names)."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write this .safetensors file.", show_default=False)],
    float16: Annotated[bool, typer.Option("--float16", help="Store float16: half the size; scores change by about 0.001.")] = False,
    layers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Read only the first N layers, as a backbone for fine-tuning.")
    ] = None,
    edges: Annotated[
        Literal["inclusive", "continuous"],
        typer.Option(help="Interpret box edges as inclusive pixels (weights trained on VOC), or as continuous (weights trained on COCO)."),
    ] = "inclusive",
) -> None:
    """Convert Darknet's CFG and WEIGHTS files to one model file."""
    from cli.output.terminal import print_next_step, print_note
    from weights.formats.darknet.weights import read_darknet, read_labels
    from weights.formats.safetensors import save_model
    from weights.hub.resolve import MODEL_SUFFIX

    if out.suffix != MODEL_SUFFIX or out.resolve() in {path.resolve() for path in (cfg, weights, labels) if path}:
        raise typer.BadParameter(f"{out} is not the name of a new model file. Give a name that ends in {MODEL_SUFFIX}.", param_hint="--out")
    names = read_labels(labels) if labels else ()
    model = read_darknet(cfg, weights, labels=names, layers=layers, edges=edges, name=out.stem)
    save_model(model, out, dtype="float16" if float16 else "float32")
    labels_of_model = model.spec.labels
    if labels_of_model and not labels:
        print_note(f"No --labels file was given: the classes are named {labels_of_model[0]!r} to {labels_of_model[-1]!r}.")
    typer.echo(
        f"{out}: {out.stat().st_size:,} bytes, {count_of(len(labels_of_model), 'label')}, {count_of(len(model.spec.network), 'layer')}."
    )
    if labels_of_model:
        print_next_step("boxwright", "detect", "IMAGE", "--model", out)


@weights_app.command("info")
def weights_info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .safetensors file, or a model's name.", show_default=False)],
    with_layers: Annotated[bool, typer.Option("--layers", help="Also list the layers.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a model's size, labels, operations, origin and memory. Downloads nothing."""
    import json

    from cli.output.model_facts import absent_entry, print_entry, print_summary, summarise, summarise_entry
    from cli.output.progress import load_named_memory, load_named_model

    entry = absent_entry(model)
    summary = summarise_entry(entry) if entry else summarise(load_named_model(model), load_named_memory(model))
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    elif entry:
        print_entry(summary)
    else:
        print_summary(summary, with_layers=with_layers)


@weights_app.command("remember")
def weights_remember(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .safetensors file, or a model's name.", show_default=False)],
    dataset: DatasetArgument,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write this .safetensors file.", show_default=False)],
    images: Annotated[int, typer.Option(metavar="N", min=1, max=20_000, help="Remember at most this many images.")] = 300,
    image_set: Annotated[str, typer.Option("--set", metavar="NAME", help="Choose from this image set of ImageSets/Main.")] = "train",
    size: Annotated[int, typer.Option(metavar="PIXELS", min=32, max=4096, help="Input size at which features are computed.")] = 224,
    float16: Annotated[bool, typer.Option("--float16", help="Store the weights as float16.")] = False,
) -> None:
    """Add a memory to a model: features of its training images, which fine-tuning uses to keep the model's classes."""
    from cli.checks import check_model_path
    from cli.extras import require_packages, start_tensorflow
    from cli.output.progress import load_named_model, progress_bar
    from cli.output.progress_events import ProgressEvents
    from cli.output.terminal import print_next_step
    from training.data.voc_reader import read_set

    check_model_path(out)
    require_packages("boxwright weights remember", "tensorflow", "keras")
    samples, loaded = read_set(dataset, image_set), load_named_model(model)
    start_tensorflow("boxwright weights remember")
    from training.features.memory_format import memory_to_entries
    from training.features.remember import make_memory
    from weights.formats.safetensors import save_model

    with progress_bar("remembering", min(images, len(samples))) as advance:
        memory = make_memory(loaded, samples, images, size=size, events=ProgressEvents(advance))
    entries = memory_to_entries(memory)
    save_model(loaded, out, dtype="float16" if float16 else None, memory=entries)
    remembered, size_of_memory = count_of(len(memory.images), "image"), sum(map(len, entries.values()))
    typer.echo(f"{out}: {out.stat().st_size:,} bytes, of which the memory of {remembered} has {size_of_memory:,}.")
    print_next_step("boxwright", "finetune", "DATASET", "--model", out)


@weights_app.command("strip")
def weights_strip(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A .safetensors file, or the name of an included model.", show_default=False)
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write this .safetensors file.", show_default=False)],
) -> None:
    """Write a copy of a model file without its memory, for example before you publish a model that was trained on private images."""
    from cli.checks import check_model_path
    from cli.output.terminal import print_next_step
    from weights.formats.safetensors import load_model, read_header, save_model
    from weights.hub.resolve import find_model

    check_model_path(out)
    path = find_model(model).path
    header = read_header(path)
    save_model(load_model(path), out, dtype=header.dtype)
    removed = "without its memory" if header.memory else "unchanged: it has no memory"
    typer.echo(f"{out}: {out.stat().st_size:,} bytes, {removed}.")
    print_next_step("boxwright", "weights", "info", out)
