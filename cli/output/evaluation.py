"""Output of `boxwright evaluate`: tables and JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isnan

import typer

from cli.output.tables import NO_VALUE, print_table
from cli.output.terminal import print_next_step, print_note
from detector.engines import Engine
from detector.messages import count_of
from training.evaluation.evaluate import Evaluation
from training.evaluation.false_alarms import CONFIDENCES, FalseAlarms, few_boxes_warning


def evaluation_facts(result: Evaluation) -> dict[str, object]:
    """Return every measure for JSON. A measure without a value is null."""
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
        "confusion": {"labels": [*result.labels, "nothing"], "confusion_matrix": result.confusion.tolist()},
        "boxes_of_other_labels": result.other_boxes,
    }


def print_evaluation_json(result: Evaluation, model: str, engine: Engine, false_alarms: Mapping[str, FalseAlarms]) -> None:
    """Print every measure as JSON, with the names of model, engine and precision, and the false alarms if they were measured."""
    facts = {"model": model, "engine": engine.name, "precision": engine.precision} | evaluation_facts(result)
    shares = {label: each.to_json() for label, each in false_alarms.items()}
    typer.echo(json.dumps(facts | ({"false_alarms": shares} if shares else {}), indent=2))
    _warn_of_few_boxes(result)


def print_evaluation(result: Evaluation, false_alarms: Mapping[str, FalseAlarms], model: str, *, suggests_confidence: bool) -> None:
    """Print AP50 of each class and its mean, and false alarms, to stdout. Print COCO's measures, the speed and a warning to stderr.

    Args:
        result: The evaluation.
        false_alarms: By label; empty if they were not counted.
        model: Name or file of the model, for the next step.
        suggests_confidence: Whether the model suggests a confidence for a class; the next step uses it.
    """
    columns = ("class", "boxes", "AP50", "AP50 (11 points)")
    rows = [(label, each.boxes, _decimal(each.ap), _decimal(each.ap_11_point)) for label, each in result.classes.items()]
    total = sum(each.boxes for each in result.classes.values())
    footer = [("mean", total, _decimal(result.ap50), _decimal(result.ap50_11_point))]
    print_table(columns, rows, numeric=columns[1:], footer=footer)
    coco = {"AP": result.coco.ap, "AP50": result.coco.ap50, "AP75": result.coco.ap75}
    sizes = {"small": result.coco.small, "medium": result.coco.medium, "large": result.coco.large}
    measures = ", ".join(f"{name} {_decimal(value) or NO_VALUE}" for name, value in (coco | sizes).items())
    print_note(f"COCO: {measures}.")
    print_note(f"{count_of(len(result.detections), 'image')}, {result.images_per_second:.1f} images per second.")
    if result.other_boxes:
        print_note(f"Ignored: {count_of(result.other_boxes, 'box')} with labels that the model does not know.")
    _print_false_alarms(false_alarms)
    _warn_of_few_boxes(result)
    print_next_step("boxwright", "detect", "IMAGE", "--model", model, *(("--confidence", "auto") if suggests_confidence else ()))


def _warn_of_few_boxes(result: Evaluation) -> None:
    if few := few_boxes_warning({label: each.boxes for label, each in result.classes.items()}):
        print_note(f"Warning: {few}")


def _print_false_alarms(false_alarms: Mapping[str, FalseAlarms]) -> None:
    """Print the shares of background images with a detection to stdout, if they were measured."""
    if not false_alarms:
        return
    columns = ("false alarms", "images", *(f"at {confidence:g}" for confidence in CONFIDENCES))
    rows = [(label, each.images, *(f"{each.shares[confidence]:.1%}" for confidence in CONFIDENCES)) for label, each in false_alarms.items()]
    print_table(columns, rows, numeric=columns[1:])


def _decimal(value: float) -> str | None:
    return None if isnan(value) else f"{value:.3f}"
