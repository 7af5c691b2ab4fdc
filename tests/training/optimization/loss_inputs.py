"""A small model spec, a batch of ground-truth boxes, and random logits."""

import numpy as np
import tensorflow as tf
from keras import ops

from detector.boxes.grid import decode_boxes
from detector.network.layers import Conv
from detector.network.spec import ModelSpec
from tests.training.ground_truths import ground_truth_of
from training.data.targets import dense_targets

LABELS, ANCHORS = ("a", "b", "c"), ((1.0, 1.5), (2.5, 2.0))
LAYERS = (Conv("stem", 4, size=32, stride=32, padding=(0, 0)), Conv("linear", 16, size=1, normalize=False, activation="linear"))
SPEC = ModelSpec(LABELS, ANCHORS, LAYERS, input_size=96)

BOXES = [
    (np.array([[5, 8, 40, 60], [50, 40, 95, 90]], np.float32), np.array([0, 2])),
    (np.array([[30, 10, 62, 50]], np.float32), np.array([1])),
]


def batch(boxes=BOXES):
    """Return the targets of a batch in float64."""
    made = [dense_targets(ground_truth_of(corners, class_ids), SPEC, max_boxes=3) for corners, class_ids in boxes]
    stacked = {name: np.stack([each[name] for each in made]) for name in made[0]}
    return {name: tf.constant(value, tf.int32 if name.endswith("class_ids") else tf.float64) for name, value in stacked.items()}


def random_logits(seed=0, images=2):
    return tf.constant(np.random.default_rng(seed).normal(0, 0.7, (images, 3, 3, 2, 8)))


def boxes_of(logits):
    return decode_boxes(logits, ANCHORS, SPEC.stride, ops)
