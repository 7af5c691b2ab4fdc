"""YOLOv2's loss, one function per term. Every term is a sum over a batch; the loss divides it by the batch's objects or images.

In all functions `logits` has shape (N, G, G, A, 5 + C), and `targets` is as in `training.data.targets` with a batch dimension N.

darknet: half squared errors, whose gradients are the deltas of Darknet's region layer (src/region_layer.c, forward_region_layer). The
    delta of the classes is the gradient of a cross-entropy, so both forms share that term.
modern: CIoU for boxes (arXiv 1911.08287), cross-entropies for objectness and classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from detector.boxes.geometry import box_xyxy_to_cxcywh, broadcast_coverage, broadcast_iou
from detector.boxes.grid import decode_boxes, sigmoid
from detector.network.spec import ModelSpec
from training.config.options import Config

PRIOR_SCALE = 0.01  # Weight of the loss that pulls boxes towards the anchors in the first images (src/region_layer.c).

Tensors = Mapping[str, Any]


@dataclass(frozen=True)
class Loss:
    """The loss function of a network, as configured."""

    spec: ModelSpec  # any input size
    config: Config
    rare_labels: frozenset[str] = frozenset()  # see `Config.rarity`

    def __call__(self, logits: Any, targets: Tensors, seen: Any, divisor: Any = None) -> dict[str, Any]:
        """Return the weighted terms by name; training minimises their sum.

        Args:
            logits: (N, G, G, A, 5 + C) logits.
            targets: Targets of this batch or, with several workers, of this worker's shard.
            seen: Number of images before this batch.
            divisor: Divisor of the sums, equal on all workers. None computes it from this batch.
        """
        if divisor is None:
            divisor = self.divisor(tf.shape(logits)[0], self.objects(targets))
        boxes = decode_boxes(logits, self.spec.anchors, self.spec.stride, keras.ops)  # (N, G, G, A, 4) xyxy, network pixels
        forms: dict[str, Callable[[Any, Any, Tensors, Any], dict[str, Any]]] = {"darknet": self._darknet, "modern": self._modern}
        terms = forms[self.config.loss](logits, boxes, targets, seen)
        return {name: term / tf.cast(divisor, logits.dtype) for name, term in terms.items()}

    @staticmethod
    def objects(targets: Tensors) -> Any:
        """Return the number of predictions that are responsible for an object; see `Targets.responsible`."""
        return tf.reduce_sum(targets["responsible"])

    def divisor(self, images: Any, objects: Any) -> Any:
        """Return the divisor of the loss of a batch with this number of images and objects; at least 1."""
        return tf.maximum(tf.cast(images if self.config.normalises_by_images else objects, tf.float32), 1)

    def _darknet(self, logits: Any, boxes: Any, targets: Tensors, seen: Any) -> dict[str, Any]:
        config, scales = self.config, self.config.scales
        objectness = tf.stop_gradient(_overlap(boxes, targets)) if config.rescore else targets["responsible"]
        background = self._background(logits, boxes, best_match(boxes, targets["truth"])[0], targets)
        early = tf.cast(seen < config.prior_photos, logits.dtype)
        return {
            "box": scales.coord * coordinates_squared(logits, targets, self.spec.stride),
            "object": scales.object * objectness_squared(logits, objectness, targets["responsible"]),
            "no_object": scales.noobject * objectness_squared(logits, tf.zeros_like(objectness), background),
            "class": scales.class_ * class_cross_entropy(logits + self._log_frequencies, targets),
            "prior": early * PRIOR_SCALE * anchor_prior(logits, 1 - targets["responsible"]),
        }

    def _modern(self, logits: Any, boxes: Any, targets: Tensors, _seen: Any) -> dict[str, Any]:
        config, scales = self.config, self.config.scales
        objectness = tf.stop_gradient(_overlap(boxes, targets)) if config.rescore else targets["responsible"]
        overlap, nearest = best_match(boxes, targets["truth"])
        background = self._background(logits, boxes, overlap, targets)
        frequent = logits + self._log_frequencies
        overlapping = tf.cast(overlap > config.ignore_iou, logits.dtype) * (1 - targets["responsible"])
        return {
            "box": scales.coord * box_ciou(boxes, targets),
            "object": scales.object * objectness_cross_entropy(logits, objectness, targets["responsible"]),
            "no_object": scales.noobject * objectness_cross_entropy(logits, tf.zeros_like(objectness), background),
            # The objectness of overlapping predictions is not penalised, so they must learn a class too. Otherwise a fine-tuned model
            # detects objects of old classes as new ones.
            "class": scales.class_
            * (class_cross_entropy(frequent, targets) + overlapping_class_cross_entropy(frequent, nearest, targets, overlapping)),
        }

    @property
    def _log_frequencies(self) -> Any:
        """(5 + C,) Logarithm of the ratio of each label's frequency in training batches to that in practice.

        The class loss adds them to the logits, so that the network learns lower scores of rare labels.

        Source: logit adjustment, Menon et al., arXiv 2007.07314, equation 10.
        """
        frequency = [self.config.rarity if label in self.rare_labels else 1.0 for label in self.spec.labels]
        return np.log(np.array([1.0] * 5 + frequency, np.float32))

    def _background(self, logits: Any, boxes: Any, overlap: Any, targets: Tensors) -> Any:
        """(N, G, G, A) 1 where objectness is penalised.

        It is not penalised if the prediction is responsible for an object, or if its highest class is not labelled in its cell. The same
        holds if its IoU with a ground-truth box, or its coverage by a crowd region, exceeds `ignore_iou`.
        """
        limit = self.config.ignore_iou
        far = (overlap <= limit) & (best_coverage(boxes, targets["crowds"]) <= limit)
        return tf.stop_gradient(tf.cast(far, boxes.dtype) * (1 - targets["responsible"]) * top_class_labelled(logits, targets["labelled"]))


def best_match(boxes: Any, truth: Any) -> tuple[Any, Any]:
    """Return, for boxes (N, G, G, A, 4), the highest IoU with the ground truth (N, M, 4) and the index of that truth; both (N, G, G, A).

    Empty boxes pad the ground truth of each image to M, the maximum of the whole data set. Padding that all images of the batch share is
    removed, because the IoU of all pairs is the largest tensor of the loss.
    """
    occupied = tf.reduce_any(truth[..., 2] > truth[..., 0], axis=0)  # (M,)
    truth = truth[:, : tf.maximum(tf.reduce_max(tf.where(occupied, tf.range(1, tf.shape(truth)[1] + 1), 0)), 1)]
    overlaps = broadcast_iou(boxes[..., None, :], truth[:, None, None, None], keras.ops)
    return tf.reduce_max(overlaps, axis=-1), tf.argmax(overlaps, axis=-1, output_type=tf.int32)


def best_coverage(boxes: Any, regions: Any) -> Any:
    """Return (N, G, G, A): the largest fraction of each box's area that one of the regions (N, K, 4) covers; -inf if K is 0."""
    return tf.reduce_max(broadcast_coverage(boxes[..., None, :], regions[:, None, None, None], keras.ops), axis=-1)


def top_class_labelled(logits: Any, labelled: Any) -> Any:
    """Return (N, G, G, A): 1 where the highest class of a prediction is labelled in its cell (N, G, G, C), else 0."""
    return tf.gather(labelled, tf.argmax(logits[..., 5:], axis=-1), axis=-1, batch_dims=3)


def _overlap(boxes: Any, targets: Tensors) -> Any:
    """(N, G, G, A) IoU of each prediction with the object it is responsible for; 0 without an object."""
    return broadcast_iou(boxes, targets["boxes"], keras.ops) * targets["responsible"]


def coordinates_squared(logits: Any, targets: Tensors, stride: int) -> Any:
    """Return half the squared errors of sigmoid x and y, and of the w and h logits. The weight of small boxes is up to 2."""
    side = logits.shape[-4] * stride
    sizes = (targets["boxes"][..., 2:4] - targets["boxes"][..., 0:2]) / side  # fractions of the image
    weight = targets["responsible"] * (2 - sizes[..., 0] * sizes[..., 1])
    centres = sigmoid(logits[..., 0:2], keras.ops) - sigmoid(targets["logits"][..., 0:2], keras.ops)
    sizes_error = logits[..., 2:4] - targets["logits"][..., 2:4]
    return 0.5 * tf.reduce_sum(weight[..., None] * (tf.square(centres) + tf.square(sizes_error)))


def anchor_prior(logits: Any, where: Any) -> Any:
    """Return half the squared differences of the boxes from their anchors, centred in their cells. where: (N, G, G, A) weights."""
    centres = sigmoid(logits[..., 0:2], keras.ops) - 0.5
    return 0.5 * tf.reduce_sum(where[..., None] * (tf.square(centres) + tf.square(logits[..., 2:4])))


def objectness_squared(logits: Any, expected: Any, where: Any) -> Any:
    """Return half the squared errors of objectness. expected: (N, G, G, A) 0..1; where: (N, G, G, A) weights."""
    return 0.5 * tf.reduce_sum(where * tf.square(sigmoid(logits[..., 4], keras.ops) - expected))


def objectness_cross_entropy(logits: Any, expected: Any, where: Any) -> Any:
    """Return the cross-entropy of objectness. expected: (N, G, G, A) 0..1; where: (N, G, G, A) weights."""
    return tf.reduce_sum(where * tf.nn.sigmoid_cross_entropy_with_logits(labels=expected, logits=logits[..., 4]))


def class_cross_entropy(logits: Any, targets: Tensors) -> Any:
    """Return the cross-entropy of the softmax over classes at the responsible predictions."""
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets["class_ids"], logits=logits[..., 5:])
    return tf.reduce_sum(targets["responsible"] * entropy)


def overlapping_class_cross_entropy(logits: Any, nearest: Any, targets: Tensors, where: Any) -> Any:
    """Return the class cross-entropy of predictions that overlap objects. All predictions of one object together have the weight 1.

    Args:
        logits: (N, G, G, A, 5 + C).
        nearest: (N, G, G, A) index, below M, of the object that a prediction overlaps most.
        targets: Difficult boxes have no class and are not trained.
        where: (N, G, G, A) 1 for predictions to train, else 0.
    """
    class_ids = targets["truth_class_ids"]  # (N, M)
    expected = tf.gather(class_ids, nearest, batch_dims=1)
    where = tf.where(expected >= 0, where, tf.zeros_like(where))
    count, objects = tf.shape(class_ids)[0], tf.shape(class_ids)[1]
    index = nearest + tf.reshape(tf.range(count) * objects, (-1, 1, 1, 1))  # of the object in the whole batch
    per_object = tf.math.unsorted_segment_sum(where, index, count * objects)
    weight = tf.math.divide_no_nan(where, tf.gather(per_object, index))
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(expected, 0), logits=logits[..., 5:])
    return tf.reduce_sum(tf.stop_gradient(weight) * entropy)


def box_ciou(boxes: Any, targets: Tensors) -> Any:
    """Return the sum of 1 - CIoU over the responsible predictions."""
    distance = 1 - complete_iou(boxes, responsible_boxes(targets))
    return tf.reduce_sum(tf.where(targets["responsible"] > 0, distance, tf.zeros_like(distance)))


def responsible_boxes(targets: Tensors) -> Any:
    """Return the boxes of the responsible predictions, and a unit box elsewhere: empty boxes would give 0 / 0 and NaN gradients."""
    unit = tf.constant([0.0, 0.0, 1.0, 1.0], targets["boxes"].dtype)
    return tf.where(targets["responsible"][..., None] > 0, targets["boxes"], unit)


def complete_iou(first: Any, second: Any) -> Any:
    """Return the CIoU of boxes (..., 4) xyxy, none of them empty: IoU minus centre distance minus difference in shape, -1.5..1.

    Source: Zheng et al., arXiv 1911.08287, equations 8 to 11. As there, the gradient treats the trade-off weight as a constant.
    """
    iou, distance, shape = ciou_parts(first, second)
    return iou - distance - tf.stop_gradient(trade_off(iou, shape)) * shape


def trade_off(iou: Any, shape: Any) -> Any:
    """Return the weight of the difference in shape, which grows with the overlap."""
    return tf.math.divide_no_nan(shape, 1 - iou + shape)


def ciou_parts(first: Any, second: Any) -> tuple[Any, Any, Any]:
    """Return IoU, squared centre distance relative to the diagonal of the enclosing box, and difference in shape 0..1."""
    corners = tf.maximum(first[..., 2:4], second[..., 2:4]) - tf.minimum(first[..., 0:2], second[..., 0:2])
    a, b = box_xyxy_to_cxcywh(first, keras.ops), box_xyxy_to_cxcywh(second, keras.ops)
    distance = tf.reduce_sum(tf.square(a[..., 0:2] - b[..., 0:2]), axis=-1) / tf.reduce_sum(tf.square(corners), axis=-1)
    angle = tf.atan2(a[..., 2], a[..., 3]) - tf.atan2(b[..., 2], b[..., 3])
    return broadcast_iou(first, second, keras.ops), distance, tf.square(angle) * (4 / np.pi**2)
