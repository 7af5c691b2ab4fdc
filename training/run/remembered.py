"""Detections in the remembered images that a run does not train on."""

from dataclasses import replace

import numpy as np

from detector.boxes.detections import Detections
from detector.boxes.grid import decode
from detector.boxes.nms import suppress
from detector.detector import DEFAULT_IOU
from detector.network.spec import Model
from training.evaluation.evaluate import SCORE_THRESHOLD
from training.evaluation.voc_ap import ImageTruth
from training.features.memory_batches import MemoryBatches
from training.run.trainer import Trainer

IMAGES_PER_CALL = 16


def detect_in_held_out(trainer: Trainer, model: Model, remembered: MemoryBatches) -> list[Detections]:
    """Return the detections, in network pixels, in each held-out image of the memory, in order.

    Args:
        trainer: Trainer of a network with the layers of the model.
        model: The model with the weights to use.
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
