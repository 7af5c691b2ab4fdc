"""`boxwright data`: check, split, import, merge and preview annotated images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.commands.data_preview import data_preview
from cli.options import DatasetArgument, JsonOption
from detector.errors import BoxwrightError
from detector.messages import count_of

if TYPE_CHECKING:
    from training.datasets.check import DatasetCheck


def _configure_allocator() -> None:
    """Return the memory of each decoded image to the system. By default, glibc keeps memory for the largest image in each thread."""
    from service.models.native_memory import configure_allocator

    configure_allocator()


data_app = typer.Typer(
    help="Check, split, import, merge and preview annotated images.", callback=_configure_allocator, no_args_is_help=True
)


@data_app.command("check")
def data_check(
    dataset: DatasetArgument,
    *,
    image_sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="Check this image set of ImageSets/Main. Can be repeated. [dim]\\[default: all][/dim]"),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Report labels that are not in this file (one label per line)."),
    ] = None,
    fix: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a repaired copy to this new folder.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the plots classes.png and boxes.png to this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find problems that harm training. The exit code is 1 if there are errors, else 0.

    In a pipe, stdout has tab-separated lines.
    """
    from cli.checks import check_output_folder
    from cli.extras import require_packages
    from cli.output.data_report import check_facts, print_check
    from cli.output.progress import progress_bar
    from cli.output.progress_events import ProgressEvents
    from training.data.voc_writer import check_free
    from training.datasets.check import check_dataset
    from weights.formats.darknet.weights import read_labels

    check_output_folder("--out", out)
    if fix:
        check_free(fix)
    if out:
        require_packages("boxwright data check --out", "matplotlib")
    allowed = read_labels(labels) if labels else ()
    with progress_bar("checking") as advance:
        result = check_dataset(dataset, image_sets or (), labels=allowed, events=ProgressEvents(advance))
    notes, failure = [], None
    if out:
        from training.datasets.plots import write_plots

        notes += [f"{path}: written." for path in write_plots(result, out)]
    if fix:
        try:
            notes.append(_repair(result, fix))
        except BoxwrightError as error:  # the findings are printed first
            failure = error
    if as_json:
        typer.echo(json.dumps(check_facts(result) | {"notes": notes}, indent=2))
    else:
        print_check(result)
        typer.echo("".join(f"{note}\n" for note in notes), nl=False)
        if not failure:
            _suggest_after_check(dataset, result, fixed=fix)
    raise failure or typer.Exit(1 if result.errors else 0)


def _repair(check: "DatasetCheck", out: Path) -> str:
    """Write a repaired copy. Return a summary."""
    from training.datasets.repair import repair_dataset

    copy = repair_dataset(check, out)
    changed, left_out = count_of(copy.rewritten, "annotation"), count_of(copy.left_out, "image")
    return f"{out}: {count_of(copy.images, 'image')}, {changed} changed, {left_out} left out."


def _suggest_after_check(dataset: Path, check: "DatasetCheck", *, fixed: Path | None) -> None:
    from cli.output.terminal import print_next_step
    from training.data.voc_lists import image_names, image_sets

    if not any(check.samples(each) for each in check.sets):
        return  # nothing can be repaired or divided; the findings state why
    if check.errors and not fixed:
        print_next_step("boxwright", "data", "check", dataset, "--fix", f"{dataset}-fixed")
    else:
        checked = fixed or dataset
        sets, found = image_sets(checked), {each.kind for each in check.findings}
        if "unread" in found and not fixed:
            print_next_step(
                "boxwright", "data", "merge", dataset, "OTHER", "--out", "NEW", when="after you moved the unread files to OTHER"
            )
        elif "unlisted" in found and not fixed and set(sets) <= {"train", "val"}:
            print_next_step("boxwright", "data", "split", dataset, "--force", when="to use the annotations in no list")
        elif "train" not in sets:
            print_next_step("boxwright", "data", "split", checked)
        elif "val" not in sets and len(image_names(checked, "train")) > 1:
            print_next_step("boxwright", "data", "split", checked, "--set", "train", "--force")
        else:
            print_next_step("boxwright", "data", "preview", checked)


@data_app.command("split")
def data_split(
    dataset: DatasetArgument,
    *,
    val: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Move this share of the images, and of each class, to val.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Use this random seed. The same seed gives the same split.")] = 0,
    image_set: Annotated[
        str, typer.Option("--set", metavar="NAME", help="Split this image set of ImageSets/Main. all: every annotated image.")
    ] = "all",
    force: Annotated[bool, typer.Option("--force", help="Replace existing lists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Divide the images into train and val, with the same share of every class.

    Writes ImageSets/Main/train.txt and val.txt. Identical image files stay together.
    """
    from cli.checks import warn_of_unread_annotations
    from cli.output.data_report import print_split
    from cli.output.terminal import print_next_step
    from training.data.voc_reader import read_set
    from training.datasets.split import split_dataset, write_split

    warn_of_unread_annotations(dataset)
    result = split_dataset(read_set(dataset, image_set), val=val, seed=seed)
    paths = write_split(dataset, result, force=force)
    if as_json:
        boxes = {label: {"train": count - result.val_boxes[label], "val": result.val_boxes[label]} for label, count in result.boxes.items()}
        typer.echo(json.dumps({"photos": {"train": len(result.train), "val": len(result.val)}, "boxes": boxes}, indent=2))
        return
    print_split(result)
    typer.echo(f"Wrote {' and '.join(str(path) for path in paths)}")
    print_next_step("boxwright", "data", "preview", dataset)


@data_app.command("import")
def data_import(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            exists=True,
            help="COCO: the .json file. YOLO: the folder with images, labels and data.yaml.",
            show_default=False,
        ),
    ],
    *,
    format_: Annotated[Literal["coco", "yolo"], typer.Option("--from", help="Read this format.", show_default=False)],
    image_folder: Annotated[
        Path | None,
        typer.Option(
            "--photos",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="COCO: find the images here. [dim]\\[default: next to SOURCE, or in images/][/dim]",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Write to this new folder, or add an image set to this data set.", show_default=False)
    ],
    image_set: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="NAME",
            help="Put images into this image set. YOLO: only images that SOURCE assigns to no set. "
            "[dim]\\[default: train, unless the path of the COCO file (instances_val2017.json) or of an image names a set][/dim]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Convert a COCO or YOLO data set to VOC style. Images are copied."""
    from cli.extras import require_packages
    from cli.output.progress import progress_bar
    from cli.output.progress_events import ProgressEvents
    from cli.output.terminal import print_next_step
    from training.datasets.importers.base import write_imported

    if image_folder and format_ != "coco":
        raise typer.BadParameter("is for COCO only. YOLO data sets have their images in SOURCE.", param_hint="--photos")
    if format_ == "coco":
        from training.datasets.importers.coco import read_coco

        with progress_bar("reading") as advance:
            imported = read_coco(source, image_folder, image_set=image_set, events=ProgressEvents(advance))
    else:
        require_packages("boxwright data import --from yolo", "yaml")
        from training.datasets.importers.yolo import read_yolo

        with progress_bar("reading") as advance:
            imported = read_yolo(source, image_set=image_set or "train", events=ProgressEvents(advance))
    written = write_imported(imported, out)
    total, lists = len(imported.images), ", ".join(f"{count} in {name}" for name, count in written.images_by_set.items())
    typer.echo(
        f"{out}: {count_of(total, 'image')} ({lists}), {count_of(written.boxes, 'box')}; labels: {', '.join(written.labels) or 'none'}."
    )
    for note in imported.notes:
        typer.echo(note)
    print_next_step("boxwright", "data", "check", out)


@data_app.command("merge")
def data_merge(
    sources: Annotated[list[Path], typer.Argument(metavar="DATASET", exists=True, file_okay=False, help="Two or more VOC-style folders.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write the data set to this new folder.", show_default=False)],
) -> None:
    """Join data sets with different labels. Image sets of the same name are joined.

    Writes ImageSets/labelled.json, which lists the labels that are exhaustively annotated in each image.
    """
    from cli.checks import warn_of_unread_annotations
    from cli.output.terminal import print_next_step
    from training.datasets.merge import merge_datasets

    if len(sources) < 2:
        raise typer.BadParameter("give two or more data sets.", param_hint="DATASET")
    for source in sources:
        warn_of_unread_annotations(source)
    merged = merge_datasets(sources, out)
    lists = ", ".join(f"{count} in {name}" for name, count in merged.by_set.items())
    labels = ", ".join(merged.labels) or "none"
    typer.echo(f"{out}: {count_of(merged.images, 'image')} ({lists}), {count_of(merged.boxes, 'box')}; labels: {labels}.")
    if merged.renamed:
        typer.echo(f"{count_of(merged.renamed, 'image')} renamed, because an earlier data set has an image of the same name.")
    if merged.unlisted:
        typer.echo(f"{count_of(merged.unlisted, 'annotation')} left out, because no image set lists them.")
    if merged.partial:
        typer.echo(f"{count_of(merged.partial, 'image')} labelled for some of these labels only; see ImageSets/labelled.json.")
    print_next_step("boxwright", "data", "check", out)


data_app.command("preview")(data_preview)
