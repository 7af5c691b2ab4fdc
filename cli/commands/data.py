"""`boxwright data`: check, split, import and merge annotated photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.commands.preview import preview
from detector.errors import BoxwrightError

if TYPE_CHECKING:
    from training.datasets.check import DatasetCheck

app = typer.Typer(help="Annotated photos: check, split, import, merge, preview.", no_args_is_help=True)

Dataset = Annotated[
    Path,
    typer.Argument(metavar="DIR", exists=True, file_okay=False, help="VOC-style: JPEGImages, Annotations, ...; or photos and .xml files."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@app.command()
def check(
    dataset: Dataset,
    *,
    image_sets: Annotated[
        list[str] | None, typer.Option("--set", help="A list in ImageSets/Main; again for more. Every list, if not given.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The labels allowed, one on each line.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="OUT", help="Write a repaired copy to this new folder.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write classes.png and boxes.png to this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Look through annotated photos for what spoils a training. Exit code 1 on errors, 0 with warnings only."""
    from cli.output.data_report import as_facts, print_check
    from training.data.voc_writer import check_free
    from weights.formats.darknet.weights import read_labels

    if fix:
        check_free(fix)
    found = _looked_through(dataset, image_sets or (), read_labels(labels) if labels else ())
    notes, failure = [], None
    if out:
        from training.datasets.plots import write_plots

        notes += [f"{path}: written." for path in write_plots(found, out)]
    if fix:
        try:
            notes.append(_repaired(found, fix))
        except BoxwrightError as error:
            failure = error
    if as_json:
        _print_json(as_facts(found) | {"notes": notes})
    else:
        print_check(found)
        for note in notes:
            typer.echo(note)
    if failure:
        raise failure
    raise typer.Exit(1 if found.errors else 0)


def _repaired(check: "DatasetCheck", out: Path) -> str:
    """Write a repaired copy and return a summary."""
    from training.datasets.repair import repair_dataset

    made = repair_dataset(check, out)
    return f"{out}: {made.photos} images, {made.rewritten} annotations changed, {made.left_out} names omitted."


def _looked_through(dataset: Path, image_sets: Sequence[str], labels: Sequence[str]) -> "DatasetCheck":
    """The check, with a bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from training.datasets.check import check_dataset
    from training.events import Events

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking through", total=None)

        class CheckProgress(Events):
            def image_checked(self, total: int) -> None:
                progress.update(task, total=total, advance=1)

        return check_dataset(dataset, image_sets, labels=labels, events=CheckProgress())


@app.command()
def split(
    dataset: Dataset,
    *,
    val: Annotated[float, typer.Option(min=0, max=1, help="The share of photos, and of each class's boxes, that val gets.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another split; the same seed, the same.")] = 0,
    image_set: Annotated[str, typer.Option("--set", help="What to split: a list in ImageSets/Main, or all annotations.")] = "all",
    force: Annotated[bool, typer.Option("--force", help="Replace lists that are there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write ImageSets/Main/train.txt and val.txt, every class in the same proportion; copies of a photo stay on one side."""
    from cli.output.data_report import print_split
    from training.data.voc_reader import read_set
    from training.datasets.split import split_dataset as part
    from training.datasets.split import write_split

    parts = part(read_set(dataset, image_set), val=val, seed=seed)
    paths = write_split(dataset, parts, force=force)
    if as_json:
        boxes = {label: {"train": count - parts.val_boxes[label], "val": parts.val_boxes[label]} for label, count in parts.boxes.items()}
        _print_json({"photos": {"train": len(parts.train), "val": len(parts.val)}, "boxes": boxes})
    else:
        print_split(parts)
        typer.echo(f"{' and '.join(str(path) for path in paths)}: written.")


@app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", exists=True, help="COCO: the .json; YOLO: the folder with images, labels, data.yaml.")
    ],
    *,
    format_: Annotated[Literal["coco", "yolo"], typer.Option("--from", help="The format.")],
    photos: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="COCO: the folder of the images. Default: next to SOURCE, or in images/."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder, or an existing data set to add an image set to.")],
    image_set: Annotated[str, typer.Option("--set", help="The list for images that the source assigns to no set.")] = "train",
) -> None:
    """Make a VOC-style data set of one in another format; photos are copied."""
    from training.datasets.importers.base import write_imported

    if photos and format_ != "coco":
        raise typer.BadParameter("is for COCO; YOLO's photos lie in its folder.", param_hint="--photos")
    if format_ == "coco":
        from training.datasets.importers.coco import read_coco

        imported = read_coco(source, photos, image_set=image_set)
    else:
        from training.datasets.importers.yolo import read_yolo

        imported = read_yolo(source, image_set=image_set)
    made = write_imported(imported, out)
    lists = ", ".join(f"{count} in {name}" for name, count in made.photos.items())
    typer.echo(f"{out}: {len(imported.images)} images ({lists}), {made.boxes} boxes of {', '.join(made.labels) or 'nothing'}.")
    for note in imported.notes:
        typer.echo(note)


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR...", exists=True, file_okay=False, help="Two or more VOC-style data sets.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder to write.")],
) -> None:
    """Join data sets with different labels: train with train, val with val. labelled.json lists the exhaustive labels of each image."""
    from training.datasets.merge import merge_datasets as join

    if len(sources) < 2:
        raise typer.BadParameter("give two or more data sets.", param_hint="DIR...")
    made = join(sources, out)
    lists = ", ".join(f"{count} in {name}" for name, count in made.by_set.items())
    typer.echo(f"{out}: {made.images} images ({lists}), {made.boxes} boxes of {', '.join(made.labels) or 'nothing'}.")
    if made.renamed:
        typer.echo(f"{made.renamed} images have a new name, because an earlier data set has an image of the same name.")
    if made.partial:
        typer.echo(f"{made.partial} images are labelled for some of these labels only: ImageSets/labelled.json lists them.")
    typer.echo(f"Next: boxwright data check {out}")


app.command()(preview)


def _print_json(facts: dict[str, object]) -> None:
    import json

    typer.echo(json.dumps(facts, indent=2))
