"""YOLOv2's loss, one function per term. Every term is a sum over a batch; the loss divides it by the batch's objects or images.

In all of them `raw` is (N, G, G, A, 5 + C) logits, `targets` as in `training.data.targets` with N in front, and the answer a scalar.

darknet: half the squared errors whose gradients are the deltas of Darknet's region layer (src/region_layer.c, forward_region_layer);
    for the classes that delta is the gradient of a cross-entropy, so this term is one in both forms.
modern: CIoU for boxes (arXiv 1911.08287), cross-entropies for the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from detector.boxes import box_xyxy_to_cxcywh, broadcast_coverage, broadcast_iou
from detector.grid import decode_boxes, sigmoid
from detector.spec import ModelSpec
from training.config import Config

PRIOR_SCALE = 0.01
"""Weight of the pull to the anchors in the first photos (src/region_layer.c)."""

Tensors = Mapping[str, Any]


@dataclass(frozen=True)
class Loss:
    """The loss of a network with that spec, as the config wants it."""

    spec: ModelSpec  # its input size does not matter
    config: Config

    def __call__(self, raw: Any, targets: Tensors, seen: Any, divisor: Any = None) -> dict[str, Any]:
        """Return the weighted terms by name; training minimises their sum.

        Args:
            raw: (N, G, G, A, 5 + C) logits.
            targets: Of this batch or, with several replicas, of this replica's share.
            seen: Number of images before this batch.
            divisor: What the sums are divided by, the same for all replicas. None computes it from this batch.
        """
        if divisor is None:
            divisor = self.divisor(tf.shape(raw)[0], self.objects(targets))
        boxes = decode_boxes(raw, self.spec.anchors, self.spec.stride, keras.ops)  # (N, G, G, A, 4) xyxy, network pixels
        forms: dict[str, Callable[[Any, Any, Tensors, Any], dict[str, Any]]] = {"darknet": self._darknet, "modern": self._modern}
        terms = forms[self.config.loss](raw, boxes, targets, seen)
        return {name: term / tf.cast(divisor, raw.dtype) for name, term in terms.items()}

    @staticmethod
    def objects(targets: Tensors) -> Any:
        """Number of predictions that are responsible for an object."""
        return tf.reduce_sum(targets["responsible"])

    def divisor(self, images: Any, objects: Any) -> Any:
        """What sums over a batch of that many images and objects are divided by; at least 1."""
        return tf.maximum(tf.cast(images if self.config.normalises_by_images else objects, tf.float32), 1)

    def _darknet(self, raw: Any, boxes: Any, targets: Tensors, seen: Any) -> dict[str, Any]:
        config, scales = self.config, self.config.scales
        wanted = tf.stop_gradient(_overlap(boxes, targets)) if config.rescore else targets["responsible"]
        early = tf.cast(seen < config.prior_photos, raw.dtype)
        return {
            "box": scales.coord * coordinates_squared(raw, targets, self.spec.stride),
            "object": scales.object * objectness_squared(raw, wanted, targets["responsible"]),
            "no_object": scales.noobject * objectness_squared(raw, tf.zeros_like(wanted), self._vacant(raw, boxes, targets)),
            "class": scales.class_ * class_cross_entropy(raw, targets),
            "prior": early * PRIOR_SCALE * pull_to_anchors(raw, 1 - targets["responsible"]),
        }

    def _modern(self, raw: Any, boxes: Any, targets: Tensors, _seen: Any) -> dict[str, Any]:
        config, scales = self.config, self.config.scales
        wanted = tf.stop_gradient(_overlap(boxes, targets)) if config.rescore else targets["responsible"]
        return {
            "box": scales.coord * box_ciou(boxes, targets),
            "object": scales.object * objectness_cross_entropy(raw, wanted, targets["responsible"]),
            "no_object": scales.noobject * objectness_cross_entropy(raw, tf.zeros_like(wanted), self._vacant(raw, boxes, targets)),
            "class": scales.class_ * class_cross_entropy(raw, targets),
        }

    def _vacant(self, raw: Any, boxes: Any, targets: Tensors) -> Any:
        """(N, G, G, A) 1 where objectness is penalised.

        It is not where a box is responsible, overlaps a ground-truth box or is inside a crowd region by more than `ignore_iou`, or where
        the class that the prediction ranks first is not labelled in its cell.
        """
        limit = self.config.ignore_iou
        far = (best_iou(boxes, targets["truth"]) <= limit) & (best_coverage(boxes, targets["crowds"]) <= limit)
        return tf.stop_gradient(tf.cast(far, boxes.dtype) * (1 - targets["responsible"]) * top_class_labelled(raw, targets["labelled"]))


def best_iou(boxes: Any, truth: Any) -> Any:
    """(N, G, G, A, 4) and (N, M, 4) xyxy -> (N, G, G, A) each box's IoU with the truth it overlaps most.

    Empty boxes fill each image's truth up to M. Those at the end that all images have in common are left out: M is the most of the whole
    data set, and this is the largest tensor of the loss.
    """
    occupied = tf.reduce_any(truth[..., 2] > truth[..., 0], axis=0)  # (M,)
    truth = truth[:, : tf.maximum(tf.reduce_max(tf.where(occupied, tf.range(1, tf.shape(truth)[1] + 1), 0)), 1)]
    return tf.reduce_max(broadcast_iou(boxes[..., None, :], truth[:, None, None, None], keras.ops), axis=-1)


def best_coverage(boxes: Any, regions: Any) -> Any:
    """(N, G, G, A, 4) and (N, K, 4) xyxy -> (N, G, G, A) the largest part of each box's area that one region covers; -inf if K is 0."""
    return tf.reduce_max(broadcast_coverage(boxes[..., None, :], regions[:, None, None, None], keras.ops), axis=-1)


def top_class_labelled(raw: Any, labelled: Any) -> Any:
    """(N, G, G, A, 5 + C) logits and (N, G, G, C) -> (N, G, G, A) 1 where each prediction's highest class is labelled, else 0."""
    return tf.gather(labelled, tf.argmax(raw[..., 5:], axis=-1), axis=-1, batch_dims=3)


def _overlap(boxes: Any, targets: Tensors) -> Any:
    """(N, G, G, A) IoU of each box with the one it is responsible for; 0 where there is none."""
    return broadcast_iou(boxes, targets["boxes"], keras.ops) * targets["responsible"]


def coordinates_squared(raw: Any, targets: Tensors, stride: int) -> Any:
    """Half the squared errors of sigmoid x and y, and of the w and h logits; small boxes count up to twice as much."""
    side = raw.shape[-4] * stride
    sizes = (targets["boxes"][..., 2:4] - targets["boxes"][..., 0:2]) / side  # shares of the picture
    weight = targets["responsible"] * (2 - sizes[..., 0] * sizes[..., 1])
    places = sigmoid(raw[..., 0:2], keras.ops) - sigmoid(targets["logits"][..., 0:2], keras.ops)
    shapes = raw[..., 2:4] - targets["logits"][..., 2:4]
    return 0.5 * tf.reduce_sum(weight[..., None] * (tf.square(places) + tf.square(shapes)))


def pull_to_anchors(raw: Any, where: Any) -> Any:
    """Half the squared errors of boxes that ought to be their anchor in the middle of their cell."""
    places = sigmoid(raw[..., 0:2], keras.ops) - 0.5
    return 0.5 * tf.reduce_sum(where[..., None] * (tf.square(places) + tf.square(raw[..., 2:4])))


def objectness_squared(raw: Any, wanted: Any, where: Any) -> Any:
    """Half the squared errors of objectness. wanted: (N, G, G, A) 0..1; where: (N, G, G, A) weights."""
    return 0.5 * tf.reduce_sum(where * tf.square(sigmoid(raw[..., 4], keras.ops) - wanted))


def objectness_cross_entropy(raw: Any, wanted: Any, where: Any) -> Any:
    """Cross-entropy of objectness. wanted: (N, G, G, A) 0..1; where: (N, G, G, A) weights."""
    return tf.reduce_sum(where * tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=raw[..., 4]))


def class_cross_entropy(raw: Any, targets: Tensors) -> Any:
    """Cross-entropy of the softmax over classes, where there is an object."""
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets["class_ids"], logits=raw[..., 5:])
    return tf.reduce_sum(targets["responsible"] * entropy)


def box_ciou(boxes: Any, targets: Tensors) -> Any:
    """1 - CIoU of each box that is responsible for a truth."""
    lost = 1 - complete_iou(boxes, filled(targets))
    return tf.reduce_sum(tf.where(targets["responsible"] > 0, lost, tf.zeros_like(lost)))


def filled(targets: Tensors) -> Any:
    """The responsible boxes; a unit box in all other places, so that no 0 / 0 comes up there, not even in a gradient."""
    unit = tf.constant([0.0, 0.0, 1.0, 1.0], targets["boxes"].dtype)
    return tf.where(targets["responsible"][..., None] > 0, targets["boxes"], unit)


def complete_iou(first: Any, second: Any) -> Any:
    """(..., 4) xyxy, none of them empty -> (...) CIoU, -1.5..1: IoU less the distance of the centres and the difference of the shapes.

    Zheng et al., arXiv 1911.08287, equations 8 to 11; the trade-off's weight is a constant for the gradient, as there.
    """
    iou, apart, shape = ciou_parts(first, second)
    return iou - apart - tf.stop_gradient(trade_off(iou, shape)) * shape


def trade_off(iou: Any, shape: Any) -> Any:
    """How much the difference of the shapes counts: the more, the more the boxes overlap."""
    return tf.math.divide_no_nan(shape, 1 - iou + shape)


def ciou_parts(first: Any, second: Any) -> tuple[Any, Any, Any]:
    """IoU; squared distance of the centres over that of the enclosing corners; difference of the shapes' angles, 0..1."""
    corners = tf.maximum(first[..., 2:4], second[..., 2:4]) - tf.minimum(first[..., 0:2], second[..., 0:2])
    a, b = box_xyxy_to_cxcywh(first, keras.ops), box_xyxy_to_cxcywh(second, keras.ops)
    apart = tf.reduce_sum(tf.square(a[..., 0:2] - b[..., 0:2]), axis=-1) / tf.reduce_sum(tf.square(corners), axis=-1)
    angle = tf.atan2(a[..., 2], a[..., 3]) - tf.atan2(b[..., 2], b[..., 3])
    return broadcast_iou(first, second, keras.ops), apart, tf.square(angle) * (4 / np.pi**2)
