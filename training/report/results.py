"""What best.safetensors does on the validation set, as HTML."""

from collections.abc import Callable, Sequence
from math import isnan

import numpy as np

from detector.boxes import box_area
from detector.detector import Detector
from detector.engines import load_engine
from training.evaluation.coco_ap import CocoAp
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.per_image import verdicts
from training.evaluation.plots import confusion_figure, curves_figure
from training.evaluation.voc_ap import Truth
from training.report import html as html
from training.report.images import photo_sheets
from training.report.svg import figure_svg
from training.run.record import RunRecord
from weights.formats.safetensors import load_model

EDGES = (0, 32**2, 96**2, np.inf)
"""COCO's sizes: small, medium, large; square image pixels."""


def results(record: RunRecord, advance: Callable[[], object] = lambda: None) -> list[str]:
    """The best model on every photo of the set. Raises BoxwrightError and OSError where model, data or photos cannot be read."""
    model = load_model(record.folder.path / "best.safetensors")
    samples = record.val_samples()
    evaluation = evaluate(Detector(model.spec, load_engine(model)), samples, advance=advance)
    parts = [html.heading(f"best.safetensors on set {record.task.val_set}")]
    if not record.is_as_trained(samples):
        parts.append(html.paragraph("These photos or boxes are not those that the run was checked on: the data have changed since."))
    parts += _precision(evaluation)
    parts += [html.heading("Photos"), html.paragraph(_legend())]
    return parts + photo_sheets(samples, verdicts(evaluation), model.spec.labels)


def _legend() -> str:
    return (
        "Black and white dashes: what is there. In colour: what was found with a score of at least 25 %. Found is a box whose "
        "overlap (IoU) with one that is there is at least 0.5."
    )


def _precision(evaluation: Evaluation) -> list[str]:
    other = f" {evaluation.other_boxes} boxes of labels that the model does not know are left out." if evaluation.other_boxes else ""
    coco = evaluation.coco
    return [
        html.facts(
            [
                (_number(evaluation.ap50), "AP50 (area under the curve)"),
                (_number(coco.ap), "COCO AP (IoU 0.50 to 0.95)"),
                (_number(coco.ap75), "AP75"),
                (f"{len(evaluation.found)}", "photos"),
            ]
        ),
        html.paragraph(f"Detection took {1 / evaluation.photos_per_second * 1000:.0f} ms a photo, reading it included.{other}", "dim"),
        html.heading("By class", 3),
        _classes(evaluation),
        html.heading("By size of box", 3),
        _sizes(coco, evaluation.truths),
        html.paragraph(
            "As COCO has it: small is below 32 x 32 pixels of the photo, large from 96 x 96. AP is the mean over IoU 0.50 to 0.95."
        ),
        html.heading("Precision over recall, and what is taken for what", 3),
        html.grid(
            "plots",
            [
                html.plot(figure_svg("curves", lambda: curves_figure(evaluation)), "From the surest detection to all of them; IoU 0.5."),
                html.plot(
                    figure_svg("confusion", lambda: confusion_figure(evaluation)),
                    "Row: what is there; last row: nothing is, and something was found. Last column: missed.",
                ),
            ],
        ),
    ]


def _classes(evaluation: Evaluation) -> str:
    rows = [(label, f"{each.boxes}", _number(each.ap), _number(each.ap_11_point)) for label, each in evaluation.classes.items()]
    total = sum(each.boxes for each in evaluation.classes.values())
    mean = ("mean", f"{total}", _number(evaluation.ap50), _number(evaluation.ap50_11_point))
    return html.table(("class", "boxes", "AP50", "AP50, 11 points"), [*rows, mean], numbers=(1, 2, 3))


def _sizes(coco: CocoAp, truths: Sequence[Truth]) -> str:
    areas = np.concatenate([box_area(truth.boxes[~truth.difficult]) for truth in truths])
    counts, _ = np.histogram(areas, EDGES)
    pairs = zip(("small", "medium", "large"), counts, (coco.small, coco.medium, coco.large), strict=True)
    return html.table(("size", "boxes", "AP"), [(name, f"{count}", _number(ap)) for name, count, ap in pairs], numbers=(1, 2))


def _number(value: float) -> str:
    return "none there" if isnan(value) else f"{value:.3f}"
