"""Average precision as COCO defines it: the mean over IoU 0.50, 0.55, ..., 0.95, by pycocotools, which is the definition."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.detections import Detections
from detector.errors import MissingExtra
from training.evaluation.voc_ap import Truth


@dataclass(frozen=True)
class CocoAp:
    """COCO's summary; nan where there is nothing of that size to be found. Areas in image pixels."""

    ap: float
    ap50: float
    ap75: float
    small: float  # boxes of less than 32 x 32
    medium: float
    large: float  # 96 x 96 and more


def coco_ap(found: Sequence[Detections], truths: Sequence[Truth], classes: int) -> CocoAp:
    """Detections and truths, photo by photo in the same order -> COCO's AP over `classes` classes.

    Boxes marked difficult count neither for nor against, as in VOC. Raises MissingExtra where pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError as error:
        raise MissingExtra("COCO's AP needs pycocotools, which is not installed: pip install 'boxwright[train]'.") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = _index(COCO(), truths, classes)
        evaluation = COCOeval(truth, _results(truth, found), "bbox")
        _ignore_difficult(evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoAp(*(float(value) if value >= 0 else float("nan") for value in evaluation.stats[:6]))


def _ignore_difficult(evaluation: Any) -> None:
    """Pycocotools ignores crowds only, whose IoU is another; so what it has prepared is marked afterwards."""
    prepare = evaluation._prepare

    def prepare_and_mark() -> None:
        prepare()
        for annotations in evaluation._gts.values():
            for annotation in annotations:
                annotation["ignore"] = annotation["difficult"]

    evaluation._prepare = prepare_and_mark


def _index(coco: Any, truths: Sequence[Truth], classes: int) -> Any:
    annotations = [
        {**_box(box), "image_id": photo, "category_id": int(class_id), "iscrowd": 0, "difficult": int(difficult)}
        for photo, truth in enumerate(truths)
        for box, class_id, difficult in zip(truth.boxes.tolist(), truth.class_ids, truth.difficult, strict=True)
    ]
    coco.dataset = {
        "info": {},
        "images": [{"id": photo} for photo in range(len(truths))],
        "categories": [{"id": class_id} for class_id in range(classes)],
        "annotations": [{"id": number} | annotation for number, annotation in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _results(truth: Any, found: Sequence[Detections]) -> Any:
    results = [
        {**_box(list(one.box)), "image_id": photo, "category_id": one.class_id, "score": one.score}
        for photo, detections in enumerate(found)
        for one in detections
    ]
    return truth.loadRes(results) if results else _index(type(truth)(), [], 0)


def _box(box: list[float]) -> dict[str, Any]:
    width, height = box[2] - box[0], box[3] - box[1]
    return {"bbox": [box[0], box[1], width, height], "area": width * height}


def interpolated_ap(precision: np.ndarray[Any, np.dtype[np.float64]], recall: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Mean over recall 0, 0.01, ..., 1 of the best precision at that recall or more: COCO's AP at one IoU (pycocotools, accumulate)."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(np.mean(envelope[np.searchsorted(recall, np.linspace(0, 1, 101), side="left")]))
