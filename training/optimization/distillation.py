"""Distillation: a network that learns new classes also learns to reproduce the outputs of its initial model on remembered images.

Learning without forgetting: Li and Hoiem, arXiv 1606.09282, section 3; for detectors: Shmelkov et al., arXiv 1708.06977, section 3.2.
These papers compare the outputs on images of the new classes. This loss compares them on remembered images.
"""

from typing import Any

import tensorflow as tf


def distillation_loss(logits: Any, initial: Any) -> Any:
    """Return the sum over a batch of the differences from the initial model's outputs; 0 if there are none.

    Objectness counts in every cell. Boxes and classes are weighted by the initial model's objectness.

    Args:
        logits: (N, G, G, A, 5 + C) logits of the network.
        initial: (N, G, G, A, 5 + K) logits of the initial model. Its K classes are the first ones of the network.
    """
    initial = tf.cast(initial, logits.dtype)
    confidence = tf.sigmoid(initial[..., 4])
    objectness = tf.nn.sigmoid_cross_entropy_with_logits(labels=confidence, logits=logits[..., 4])
    objectness -= tf.nn.sigmoid_cross_entropy_with_logits(labels=confidence, logits=initial[..., 4])
    boxes = 0.5 * tf.reduce_sum(tf.square(logits[..., 0:4] - initial[..., 0:4]), axis=-1)
    expected, log_expected = tf.nn.softmax(initial[..., 5:]), tf.nn.log_softmax(initial[..., 5:])
    log_classes = tf.nn.log_softmax(logits[..., 5:])[..., : initial.shape[-1] - 5]
    classes = tf.reduce_sum(expected * (log_expected - log_classes), axis=-1)
    return tf.reduce_sum(objectness + confidence * (boxes + classes))
