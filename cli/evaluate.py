"""`boxwright evaluate`: how good is a model on this data?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import EngineOption, ModelOption

if TYPE_CHECKING:
    from training.evaluate import Evaluation


def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="VOC-style: JPEGImages, Annotations, ...")],
    *,
    image_set: Annotated[str, typer.Option("--set", help="The list in ImageSets/Main to go by.")] = "val",
    model: ModelOption = None,
    engine: EngineOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Measure average precision (PASCAL VOC, IoU at least 0.5) of a model on annotated photos."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from cli.download_bar import load_model
    from detector.detector import Detector
    from training.evaluate import evaluate as measure
    from training.voc import read_set
    from weights.engines import load_engine

    samples = read_set(dataset, image_set)
    loaded = load_model(model)
    detector = Detector(loaded.spec, load_engine(loaded, engine or "auto"))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("evaluating", total=len(samples))
        result = measure(detector, samples, advance=lambda: progress.advance(task))
    if as_json:
        typer.echo(json.dumps(_facts(result, loaded.name, detector.engine.name), indent=2))
    else:
        _print(result)


def _facts(result: "Evaluation", model: str, engine: str) -> dict[str, object]:
    classes = {label: {"ap50": each.ap, "ap50_11_point": each.ap_11_point, "boxes": each.boxes} for label, each in result.classes.items()}
    return {
        "model": model,
        "engine": engine,
        "photos": result.photos,
        "photos_per_second": result.photos / result.seconds,
        "ap50": result.ap50,
        "ap50_11_point": result.ap50_11_point,
        "classes": classes,
        "boxes_of_other_labels": result.other_boxes,
    }


def _print(result: "Evaluation") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("class")
    for heading in ("boxes", "AP50", "AP50, 11 points"):
        table.add_column(heading, justify="right")
    for label, each in result.classes.items():
        table.add_row(label, str(each.boxes), f"{each.ap:.3f}", f"{each.ap_11_point:.3f}")
    table.add_section()
    total = sum(each.boxes for each in result.classes.values())
    table.add_row("mean", str(total), f"{result.ap50:.3f}", f"{result.ap50_11_point:.3f}")
    Console().print(table)
    others = f"; {result.other_boxes} boxes of labels that the model does not know were left out" if result.other_boxes else ""
    typer.echo(f"{result.photos} photos, {result.photos / result.seconds:.1f} a second{others}.")
