"""Measure a model during training: on the validation set, and on the remembered images that are held out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detector.boxes.detections import Detections
from detector.boxes.grid import decode
from detector.boxes.nms import suppress
from detector.detector import DEFAULT_IOU, Detector
from detector.engines import Engine, load_engine
from detector.network.spec import Model
from training.evaluation.evaluate import SCORE_THRESHOLD, evaluate_detector
from training.evaluation.false_alarms import count_false_alarms
from training.evaluation.voc_ap import ImageTruth
from training.features.memory_batches import MemoryBatches
from training.run.metrics_log import StepMetrics
from training.run.setup import RunSetup
from training.run.trainer import Trainer

IMAGES_PER_CALL = 16


@dataclass(frozen=True)
class Validator:
    """AP50 and loss on the validation set of a run, and false alarms on its held-out remembered images."""

    setup: RunSetup
    trainer: Trainer  # computes the loss, and the logits of remembered images

    def measure(self, model: Model) -> StepMetrics:
        """Return the loss, three means of AP50, AP50 by class, and shares of images with false alarms."""
        engine = load_engine(model)
        evaluation = evaluate_detector(Detector(model.spec, engine), self.setup.val)
        means = {"ap50": evaluation.ap50, "ap50_frequent": evaluation.ap50_frequent, "ap50_weighted": evaluation.ap50_weighted}
        by_class = {label: result.ap for label, result in evaluation.classes.items()}
        return {"val_loss": self.loss(engine), **means, "ap50_by_class": by_class, **self._false_alarms(model)}

    def _false_alarms(self, model: Model) -> StepMetrics:
        """Shares of the held-out remembered images with a detection of a new class at confidence 0.25 and 0.5."""
        remembered, new_labels = self.setup.remembered, self.setup.kept.new_labels
        if not remembered or not remembered.held_out or not new_labels:
            return {}
        class_ids = [model.spec.labels.index(label) for label in new_labels]
        shares = count_false_alarms(detect_in_held_out(self.trainer, model, remembered), class_ids).shares
        return {"false_alarms": shares[0.25], "false_alarms_50": shares[0.5]}

    def loss(self, engine: Engine) -> float:
        """Return the loss of the complete validation set, normalised as in training."""
        total, divisor, batch_size, images_count = 0.0, 0.0, self.setup.config.batch_size, len(self.setup.val)
        for first in range(0, images_count, batch_size):
            images, targets = self.setup.val_batches.batch(first // batch_size)
            count = min(batch_size, images_count - first)  # the last batch is filled up with images from the beginning
            loss, batch_divisor = self.trainer.loss_of_logits(engine(images[:count]), _first(targets, count))
            total, divisor = total + loss, divisor + batch_divisor
        return total / divisor


def _first(targets: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {name: array[:count] for name, array in targets.items()}


def detect_in_held_out(trainer: Trainer, model: Model, remembered: MemoryBatches) -> list[Detections]:
    """Return the detections, in network pixels, in each held-out image of the memory, in order.

    Args:
        trainer: Has a network with the layers of the model.
        model: Its weights are used.
        remembered: The memory of the run.
    """
    found: dict[int, Detections] = {}
    by_size: dict[int, list[int]] = {}
    for index in remembered.held_out:
        by_size.setdefault(remembered.memory.images[index].size, []).append(index)
    with trainer.weights_of(model):
        for size, indices in by_size.items():
            spec = replace(model.spec, input_size=size)
            for first in range(0, len(indices), IMAGES_PER_CALL):
                batch = indices[first : first + IMAGES_PER_CALL]
                for index, logits in zip(batch, trainer.logits_of_features(remembered.features(batch), size), strict=True):
                    boxes, scores = decode(logits, spec.anchors, spec.stride, above=SCORE_THRESHOLD)
                    found[index] = suppress(boxes, scores, SCORE_THRESHOLD, DEFAULT_IOU)
    return [found[index] for index in remembered.held_out]


def empty_truths(count: int) -> list[ImageTruth]:
    """Return the ground truth of images without objects."""
    return [ImageTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)) for _ in range(count)]
