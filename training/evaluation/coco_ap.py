"""Average precision as defined by COCO: the mean over IoU 0.50, 0.55, ..., 0.95, computed by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detector.boxes.detections import Detections
from detector.errors import MissingExtra
from training.evaluation.voc_ap import ImageTruth


@dataclass(frozen=True)
class CocoAp:
    """COCO's summary. NaN if there is no ground truth of that size. Areas in square image pixels."""

    ap: float
    ap50: float
    ap75: float
    small: float  # boxes smaller than 32 x 32
    medium: float
    large: float  # 96 x 96 and more


def coco_ap(detections: Sequence[Detections], truths: Sequence[ImageTruth], classes: int) -> CocoAp:
    """Compute COCO's AP. Boxes marked difficult are ignored, as in VOC.

    Args:
        detections: Detections in each image.
        truths: Ground truth of each image, in the same order.
        classes: Number of classes.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError as error:
        raise MissingExtra("COCO's AP needs pycocotools, which is not installed. Install the extra 'train'.") from error
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = _index(COCO(), truths, classes)
        evaluation = COCOeval(truth, _results(truth, detections), "bbox")
        _ignore_difficult(evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoAp(*(float(value) if value >= 0 else float("nan") for value in evaluation.stats[:6]))


def _ignore_difficult(evaluation: Any) -> None:
    """Make pycocotools ignore difficult boxes. It has no public option for that: it ignores crowds, but defines their IoU differently."""
    prepare = evaluation._prepare

    def prepare_and_mark() -> None:
        prepare()
        for annotations in evaluation._gts.values():
            for annotation in annotations:
                annotation["ignore"] = annotation["difficult"]

    evaluation._prepare = prepare_and_mark


def _index(coco: Any, truths: Sequence[ImageTruth], classes: int) -> Any:
    annotations = [
        {**_box(box), "image_id": image, "category_id": int(class_id), "iscrowd": 0, "difficult": int(difficult)}
        for image, truth in enumerate(truths)
        for box, class_id, difficult in zip(truth.boxes.tolist(), truth.class_ids, truth.difficult, strict=True)
    ]
    coco.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": class_id} for class_id in range(classes)],
        "annotations": [{"id": number} | annotation for number, annotation in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _results(truth: Any, detections: Sequence[Detections]) -> Any:
    results = [
        {**_box(list(one.box)), "image_id": image, "category_id": one.class_id, "score": one.score}
        for image, found in enumerate(detections)
        for one in found
    ]
    return truth.loadRes(results) if results else _index(type(truth)(), [], 0)


def _box(box: list[float]) -> dict[str, Any]:
    width, height = box[2] - box[0], box[3] - box[1]
    return {"bbox": [box[0], box[1], width, height], "area": width * height}
