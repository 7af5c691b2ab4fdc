"""A model's memory: compact features of training images, with their boxes. No image is stored.

Fine-tuning trains on these features together with the user's images. So the model keeps its classes and does not confuse them with the new
ones. The features are the inputs of the trainable part (see `split_point`). They are valid as long as the frozen layers do not
change.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.network.layers import LEAKY_SLOPE, Network
from detector.network.shapes import Array, Arrays, output_shapes
from detector.network.spec import Model
from detector.onnx.graph import fold_batch_norm
from training.data.ground_truth import WHOLE_IMAGE, GroundTruth, PartialRegion
from training.features.basis import Basis, Codes, decompress
from training.features.split_point import StoredLayer, stored_layers

HELD_OUT_EVERY = 6
"""Every sixth image is held out of training to count false alarms, if the memory has at least this many images."""


@dataclass(frozen=True, eq=False)
class RememberedImage:
    """Features and ground truth of one image."""

    size: int  # side of the network's input, in pixels
    compressed: bytes  # codes of all layers, see `training.features.basis`
    boxes: Boxes  # (N, 4) xyxy, network pixels
    labels: tuple[str, ...]  # (N,)
    roles: NDArray[np.int8]  # (N,) a Role each
    labelled: frozenset[str]  # the exhaustive labels; objects of other classes may lack a box

    def truth(self, labels: Sequence[str], absent: frozenset[str]) -> GroundTruth:
        """Return the ground truth for a model.

        Args:
            labels: Labels of the model.
            absent: New labels. The image is known to show no object of these classes.
        """
        known = np.array([label in labels for label in self.labels], np.bool_)
        class_ids = np.array([labels.index(label) for label in self.labels if label in labels], np.int64)
        labelled = np.array([label in self.labelled or label in absent for label in labels], np.bool_)
        partial = () if labelled.all() else (PartialRegion(WHOLE_IMAGE, labelled),)
        return GroundTruth(self.boxes[known], class_ids, self.roles[known], partial)


@dataclass(frozen=True, eq=False)
class Memory:
    """Remembered images, and the bases of their codes."""

    layers: tuple[str, ...]  # feature layers, in network order
    bases: Mapping[str, Basis]  # by feature layer: the basis of the layer that is stored instead of it
    images: tuple[RememberedImage, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that are exhaustive in at least one image, sorted."""
        return tuple(sorted({label for image in self.images for label in image.labelled}))

    @property
    def boxes_by_label(self) -> Counter[str]:
        """Number of boxes of each label."""
        return Counter(label for image in self.images for label in image.labels)

    def with_images(self, images: Iterable[RememberedImage]) -> "Memory":
        """Return a memory with other images in the same bases."""
        return replace(self, images=tuple(images))

    def decoder(self, model: Model) -> "Decoder":
        """Return the decoder of the codes for a model with the same frozen layers."""
        return Decoder(self, model.spec.network, model.arrays)


@dataclass(frozen=True, eq=False)
class Decoder:
    """Computes features from the codes of a memory."""

    memory: Memory
    network: Network
    arrays: Arrays

    def codes(self, image: RememberedImage) -> dict[str, Codes]:
        """Return the codes of one image by feature layer. Raises ValueError if they are damaged."""
        shapes = self.code_shapes(image.size)
        data = decompress(image.compressed, sum(int(np.prod(shape)) for shape in shapes.values()))
        codes, position = {}, 0
        for layer, shape in shapes.items():
            count = int(np.prod(shape))
            codes[layer] = np.frombuffer(data, np.int8, count, position).reshape(shape)
            position += count
        return codes

    def code_shapes(self, size: int) -> dict[str, tuple[int, int, int]]:
        """Return the shapes (K, side, side) of an image's codes by feature layer."""
        sides = output_shapes(self.network, size)
        return {
            stored.feature_layer: (len(self.memory.bases[stored.feature_layer].steps), *2 * (sides[stored.name].side,))
            for stored in self.stored
        }

    def features(self, codes: Sequence[Mapping[str, Codes]]) -> dict[str, Array]:
        """Return the features (N, side, side, C) of images of equal size, by feature layer."""
        features = {}
        for stored in self.stored:
            layer = stored.feature_layer
            features[layer] = self.memory.bases[layer].decode(np.stack([each[layer] for each in codes]))
            for kernel, bias, activation in self._convolutions[layer]:
                features[layer] = _activate(features[layer] @ kernel + bias, activation)
        return features

    @cached_property
    def stored(self) -> tuple[StoredLayer, ...]:
        """What is stored for each feature layer."""
        return stored_layers(self.network, self.memory.layers)

    @cached_property
    def _convolutions(self) -> dict[str, list[tuple[Array, Array, str]]]:
        """Kernel (in, out), bias and activation of the 1x1 convolutions after each stored layer."""
        folded: dict[str, list[tuple[Array, Array, str]]] = {}
        for stored in self.stored:
            folded[stored.feature_layer] = []
            for layer in stored.convolutions:
                kernel, bias = fold_batch_norm(layer, self.arrays)
                folded[stored.feature_layer].append((kernel[:, :, 0, 0].T, bias, layer.activation))
        return folded


def _activate(values: Array, activation: str) -> Array:
    """Apply one of POINTWISE_ACTIVATIONS."""
    match activation:
        case "relu6":
            return np.clip(values, 0, 6)
        case "relu":
            return np.maximum(values, 0)
        case "leaky":
            return np.where(values > 0, values, LEAKY_SLOPE * values)
        case _:
            return values


def is_held_out(index: int, count: int) -> bool:
    """Return whether an image of a memory of `count` images is used to count false alarms instead of training."""
    return count >= HELD_OUT_EVERY and index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def select_balanced(labels: Sequence[Iterable[str]], count: int, seed: int) -> list[int]:
    """Choose images so that all labels occur about equally often.

    Each round adds an image with the label that has the fewest chosen images. Images without boxes count as a separate label.

    Args:
        labels: Labels of each image's boxes.
        count: Number of images to choose.
        seed: Seed of the random order of images with the same label.

    Returns:
        Sorted indices.
    """
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    kinds = [set(each) or {""} for each in labels]
    remaining: dict[str, list[int]] = {kind: [] for kind in sorted({kind for each in kinds for kind in each})}
    for index in reversed(order):
        for kind in kinds[index]:
            remaining[kind].append(index)
    counts, chosen = Counter(dict.fromkeys(remaining, 0)), set[int]()
    while len(chosen) < min(count, len(labels)):
        kind = min(remaining, key=lambda each: (counts[each], each))
        index = remaining[kind].pop() if remaining[kind] else None
        if index is None:
            del remaining[kind]
        elif index not in chosen:
            chosen.add(index)
            counts.update(kinds[index])
    return sorted(chosen)
