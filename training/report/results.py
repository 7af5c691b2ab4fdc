"""Evaluate best.safetensors on the validation set for the report."""

from collections.abc import Sequence
from math import isnan

import numpy as np

from detector.boxes.geometry import box_area
from detector.detector import Detector
from detector.engines import load_engine
from detector.messages import count_of
from training.evaluation.coco_ap import CocoAp
from training.evaluation.evaluate import Evaluation, evaluate_detector
from training.evaluation.per_image import image_results
from training.evaluation.plots import confusion_figure, precision_recall_figure
from training.evaluation.voc_ap import ImageTruth
from training.events import Events
from training.report.content import Plot, Results, Table
from training.report.images import image_sheets
from training.report.svg import figure_svg
from training.run.record import RunRecord
from weights.formats.safetensors import load_model

AREA_EDGES = (0, 32**2, 96**2, np.inf)  # COCO's size classes small, medium and large; square image pixels.


def measure_results(record: RunRecord, events: Events) -> Results:
    """Evaluate the best model. Raises BoxwrightError or OSError if the model, the data or an image cannot be read."""
    model = load_model(record.folder.path / "best.safetensors")
    samples = record.val_samples()
    evaluation = evaluate_detector(Detector(model.spec, load_engine(model)), samples, events=events)
    coco, sheets = evaluation.coco, image_sheets(samples, image_results(evaluation), model.spec.labels)
    omitted = (
        f" Ignored: {count_of(evaluation.other_boxes, 'box')} with labels that the model does not know." if evaluation.other_boxes else ""
    )
    return Results(
        image_set=record.val_set,
        data_changed=not record.is_validation_set_unchanged(),
        ap50=evaluation.ap50,
        images=len(evaluation.detections),
        boxes={label: result.boxes for label, result in evaluation.classes.items()},
        facts=[(_number(coco.ap), "COCO AP (IoU 0.50 to 0.95)"), (_number(coco.ap75), "AP75")],
        speed=f"Detection took {1 / evaluation.images_per_second * 1000:.0f} ms per image, including reading the file.{omitted}",
        classes=_classes(evaluation),
        sizes=_sizes(coco, evaluation.truths),
        plots=[
            Plot(
                figure_svg("curves", lambda: precision_recall_figure(evaluation)),
                "Precision over recall as the score threshold decreases; IoU at least 0.5.",
            ),
            Plot(
                figure_svg("confusion", lambda: confusion_figure(evaluation)),
                "Row: class of the ground truth; last row: detections without ground truth. "
                "Column: detected class; last column: missed objects.",
            ),
        ],
        mistakes=[sheets[kind] for kind in ("worst", "missed") if kind in sheets],
        best=[sheets["best"]] if "best" in sheets else [],
    )


def _classes(evaluation: Evaluation) -> Table:
    rows = [(label, f"{each.boxes}", _number(each.ap), _number(each.ap_11_point)) for label, each in evaluation.classes.items()]
    total = sum(each.boxes for each in evaluation.classes.values())
    mean = ("mean", f"{total}", _number(evaluation.ap50), _number(evaluation.ap50_11_point))
    return Table(("class", "boxes", "AP50", "AP50, 11 points"), [*rows, mean], numeric=(1, 2, 3))


def _sizes(coco: CocoAp, truths: Sequence[ImageTruth]) -> Table:
    areas = np.concatenate([box_area(truth.boxes[~truth.difficult]) for truth in truths])
    counts, _ = np.histogram(areas, AREA_EDGES)
    rows = zip(("small", "medium", "large"), counts, (coco.small, coco.medium, coco.large), strict=True)
    return Table(("size", "boxes", "AP"), [(name, f"{count}", _number(ap)) for name, count, ap in rows], numeric=(1, 2))


def _number(value: float) -> str:
    return "no boxes" if isnan(value) else f"{value:.3f}"
