"""False alarms, which are detections of a class in images that do not show it, and the confidence threshold with the best F1."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.boxes.detections import Detections
from detector.detector import DEFAULT_IOU, DEFAULT_SCORE, Detector
from detector.errors import ImageError
from detector.messages import count_of
from training.data.unlabelled_images import unlabelled_images
from training.data.voc_reader import read_image_file
from training.errors import DatasetError
from training.evaluation.evaluate import SCORE_THRESHOLD
from training.evaluation.new_classes import describe_found, describe_new_classes
from training.evaluation.self_check import describe_self_check, is_self_check
from training.evaluation.voc_ap import ImageTruth, evaluate_class
from training.events import SILENT, Events

logger = logging.getLogger("boxwright.training")

CONFIDENCES = (DEFAULT_SCORE, 0.5)  # Confidences above which false alarms are counted.
SOURCES = {"memory": "remembered images that were not trained on", "background": "background images"}
"""Key in conclusion.json -> description of the images on which false alarms are measured."""

FEW_BOXES = 20  # With fewer boxes of a class in the validation set, one box changes its AP50 by more than 5 points.


@dataclass(frozen=True)
class FalseAlarms:
    """Shares of images with at least one false alarm."""

    images: int
    shares: Mapping[float, float]  # by confidence

    def to_json(self) -> dict[str, float]:
        """Return the number of images, and the share at each confidence."""
        return {"images": self.images} | {f"{confidence:g}": share for confidence, share in self.shares.items()}


def count_false_alarms(detections: Sequence[Detections], class_ids: Collection[int]) -> FalseAlarms:
    """Return the shares of images with a detection of one of the classes.

    Args:
        detections: Detections in each image. No image shows any of the classes.
        class_ids: The classes.
    """
    highest = [found.scores[np.isin(found.class_ids, list(class_ids))].max(initial=0.0) for found in detections]
    shares = {confidence: float(np.mean([score > confidence for score in highest])) if highest else 0.0 for confidence in CONFIDENCES}
    return FalseAlarms(len(detections), shares)


def detect_in_background(detector: Detector, folder: Path, *, events: Events = SILENT) -> list[Detections]:
    """Run a detector on all images of a folder. An image that cannot be read is skipped, with a line in the log.

    Raises DatasetError if the folder has no image that can be read.
    """
    found = []
    for path in background_images(folder):
        try:
            image = read_image_file(path)
        except (ImageError, OSError) as error:
            logger.warning("background image skipped: %s", error)
            continue
        found.append(detector.detect(image, score_threshold=SCORE_THRESHOLD, iou_threshold=DEFAULT_IOU))
        events.image_evaluated()
    if not found:
        raise DatasetError(f"{folder}: no image in this folder can be read.")
    return found


def background_images(folder: Path) -> list[Path]:
    """Return the images in a folder and below it. Raises DatasetError if it has no image."""
    return unlabelled_images(folder, "Give a folder of images that show none of the new objects.")


def best_confidence(detections: Sequence[Detections], truths: Sequence[ImageTruth], class_id: int) -> float | None:
    """Return the confidence threshold with the highest F1 of a class, or None if the class has no boxes or no box is found.

    The threshold is half-way between the last accepted and the first rejected score.

    Args:
        detections: Detections in each image.
        truths: Ground truth of each image; empty for images that do not show the class.
        class_id: The class.
    """
    result = evaluate_class(detections, truths, class_id)
    if not result.boxes or not len(result.scores):
        return None
    total = result.precision + result.recall
    f1 = np.where(total > 0, 2 * result.precision * result.recall / np.maximum(total, 1e-9), 0.0)
    if not f1.any():
        return None
    last_of_score = np.append(result.scores[:-1] > result.scores[1:], True)  # equal scores are accepted together
    best = int(np.argmax(np.where(last_of_score, f1, -1.0)))
    rejected = result.scores[best + 1] if best + 1 < len(result.scores) else SCORE_THRESHOLD
    return float(result.scores[best] + rejected) / 2


def few_boxes_warning(boxes: Mapping[str, int]) -> str | None:
    """Return a sentence if a class has too few boxes in the validation set for a reliable AP50.

    Args:
        boxes: Number of boxes by label.
    """
    few = {label: count for label, count in boxes.items() if 0 < count < FEW_BOXES}
    if not few:
        return None
    label = min(few, key=lambda each: (few[each], each))
    count = few[label]
    return (
        f"the validation set has only {count_of(count, 'box')} of {label}: one box changes its AP50 by about "
        f"{round(100 / count)} points. Add validation images before you rely on AP50."
    )


def suggested_confidence(conclusion: Mapping[str, Any]) -> str:
    """Return the new classes with the suggested thresholds of a run's conclusion.json: "cat 0.12, dog 0.30". Empty if there are none."""
    confidence = conclusion.get("confidence", {})
    return ", ".join(f"{label} {confidence[label]:.2f}" for label in conclusion.get("new_labels", ()) if label in confidence)


def describe_conclusion(conclusion: Mapping[str, Any]) -> list[str]:
    """Return sentences that describe AP50 and found objects of new classes, false alarms, thresholds and warnings in conclusion.json.

    Of a self-check, only its result and the warnings are described.
    """
    sentences = [describe_self_check(conclusion)] if is_self_check(conclusion) else _describe_measurements(conclusion)
    if warning := conclusion.get("warning"):
        sentences.append(f"Warning: {warning}")
    if divergence := conclusion.get("divergence"):
        sentences.append(f"Warning: {divergence['reason']}. Start a new run with --learning-rate {divergence['learning_rate']}.")
    return sentences


def _describe_measurements(conclusion: Mapping[str, Any]) -> list[str]:
    new_classes = describe_new_classes(conclusion)
    sentences = [f"AP50 of new classes: {new_classes}."] if new_classes else []
    for source, shares in conclusion.get("false_alarms", {}).items():
        labels = ", ".join(conclusion["new_labels"]) or "any class"
        sentences.append(
            f"False alarms ({labels}) in {shares['images']} {SOURCES[source]}: {shares['0.25']:.1%} at confidence 0.25, "
            f"{shares['0.5']:.1%} at 0.5."
        )
    if thresholds := suggested_confidence(conclusion):
        sentences.append(f"Suggested confidence (best F1): {thresholds}.")
    if never_found := [label for label in conclusion.get("found", {}) if label not in conclusion.get("confidence", {})]:
        sentences.append(f"No confidence is suggested for {', '.join(never_found)}: no object is found at any confidence.")
    if found := describe_found(conclusion):
        sentences.append(found)
    return sentences
