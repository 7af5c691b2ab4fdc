"""Distillation: a network that learns new classes also learns to reproduce the outputs of its initial model.

Learning without forgetting: Li and Hoiem, arXiv 1606.09282, section 3; for detectors: Shmelkov et al., arXiv 1708.06977, section 3.2.
The outputs are compared on remembered images, and on the training images outside of their objects.
"""

from typing import Any

import keras
import tensorflow as tf

from detector.boxes.grid import decode_boxes
from detector.network.spec import ModelSpec
from training.optimization.loss import best_match

MAX_OVERLAP = 0.1  # IoU. The initial model may take a part of a new object for an object of an old class.


def distillation_loss(logits: Any, initial: Any, where: Any = 1.0) -> Any:
    """Return the sum over a batch of the differences from the initial model's outputs; 0 for an empty batch.

    Objectness counts in every cell. Boxes and classes are weighted by the initial model's objectness.

    Args:
        logits: (N, G, G, A, 5 + C) logits of the network.
        initial: (N, G, G, A, 5 + K) logits of the initial model. Its K classes are the first ones of the network.
        where: (N, G, G, A) weights of the predictions.
    """
    initial = tf.stop_gradient(tf.cast(initial, logits.dtype))
    confidence = tf.sigmoid(initial[..., 4])
    objectness = tf.nn.sigmoid_cross_entropy_with_logits(labels=confidence, logits=logits[..., 4])
    objectness -= tf.nn.sigmoid_cross_entropy_with_logits(labels=confidence, logits=initial[..., 4])
    boxes = 0.5 * tf.reduce_sum(tf.square(logits[..., 0:4] - initial[..., 0:4]), axis=-1)
    expected, log_expected = tf.nn.softmax(initial[..., 5:]), tf.nn.log_softmax(initial[..., 5:])
    log_classes = tf.nn.log_softmax(logits[..., 5:])[..., : initial.shape[-1] - 5]
    classes = tf.reduce_sum(expected * (log_expected - log_classes), axis=-1)
    return tf.reduce_sum(where * (objectness + confidence * (boxes + classes)))


def outside_of_objects(initial: Any, truth: Any, spec: ModelSpec) -> Any:
    """Return (N, G, G, A): 1 where the initial model's box overlaps no object of the ground truth (N, M, 4), else 0."""
    boxes = decode_boxes(initial, spec.anchors, spec.stride, keras.ops)
    return tf.cast(best_match(boxes, truth)[0] <= MAX_OVERLAP, initial.dtype)
