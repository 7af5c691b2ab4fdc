"""`boxwright evaluate`: how good is a model on this data?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import EngineOption, ModelOption

if TYPE_CHECKING:
    from training.evaluation.evaluate import Evaluation


def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="VOC-style: JPEGImages, Annotations, ...")],
    *,
    image_set: Annotated[str, typer.Option("--set", help="The list in ImageSets/Main to go by.")] = "val",
    model: ModelOption = None,
    engine: EngineOption = None,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw precision over recall and the confusion matrix there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Measure average precision of a model on annotated photos, as PASCAL VOC and as COCO define it."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from cli.output.download_bar import load_model
    from detector.detector import Detector
    from training.data.voc_reader import read_set
    from training.evaluation.evaluate import evaluate_detector as measure
    from training.events import Events
    from weights.engines.factory import load_engine

    samples = read_set(dataset, image_set)
    loaded = load_model(model)
    detector = Detector(loaded.spec, load_engine(loaded, engine or "auto"))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("evaluating", total=len(samples))

        class EvaluationProgress(Events):
            def image_evaluated(self) -> None:
                progress.advance(task)

        result = measure(detector, samples, events=EvaluationProgress())
    if result.warning:
        typer.echo(result.warning, err=True)
    if plots is not None:
        from training.evaluation.plots import plot_evaluation

        plots.mkdir(parents=True, exist_ok=True)
        plot_evaluation(result, plots)
    if as_json:
        typer.echo(json.dumps({"model": loaded.name, "engine": detector.engine.name} | _facts(result), indent=2))
    else:
        _print(result)


def _facts(result: "Evaluation") -> dict[str, object]:
    from dataclasses import asdict
    from math import isnan

    classes = {
        label: {
            "ap50": each.ap,
            "ap50_11_point": each.ap_11_point,
            "boxes": each.boxes,
            "curve": {name: getattr(each, name).round(6).tolist() for name in ("scores", "precision", "recall")},
        }
        for label, each in result.classes.items()
    }
    return {
        "photos": len(result.detections),
        "photos_per_second": result.images_per_second,
        "ap50": result.ap50,
        "ap50_11_point": result.ap50_11_point,
        "coco": {name: None if isnan(value) else value for name, value in asdict(result.coco).items()},
        "classes": classes,
        "confusion": {"labels": [*result.labels, "nothing"], "there_by_found": result.confusion.tolist()},
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
    coco = result.coco
    typer.echo(f"COCO: AP {coco.ap:.3f}, AP50 {coco.ap50:.3f}, AP75 {coco.ap75:.3f}; ", nl=False)
    typer.echo(f"small {coco.small:.3f}, medium {coco.medium:.3f}, large {coco.large:.3f}.")
    others = f"; {result.other_boxes} boxes of labels that the model does not know were left out" if result.other_boxes else ""
    typer.echo(f"{len(result.detections)} photos, {result.images_per_second:.1f} a second{others}.")
