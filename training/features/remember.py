"""Make a memory: compute and compress the features of images."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from detector.boxes.placement import Placement
from detector.engines.onnxruntime import OnnxFeatureExtractor
from detector.network.shapes import Array
from detector.network.spec import Model
from training.data.ground_truth import ground_truth
from training.data.voc_reader import Sample
from training.errors import ConfigError
from training.events import SILENT, Events
from training.features.basis import Basis, compress
from training.features.memory import Memory, RememberedImage, select_balanced
from training.features.split_point import StoredLayer, feature_layers, stored_layers
from training.modeling.transfer import backbone_layers

ROUNDING_STEP = 0.5  # Rounding step of features, relative to their standard deviation. docs/training.md has the measurements.
BASIS_IMAGES = 100  # Images from which the principal components are computed.
MEMORY_SIZE = 224  # Default input size, in pixels, at which features are stored.
MIN_SIDE = 0.1  # Boxes with smaller sides, in network pixels, are dropped: rounding could make them empty.


def make_memory(
    model: Model,
    samples: Sequence[Sample],
    count: int,
    *,
    labels: Sequence[str] = (),
    size: int = MEMORY_SIZE,
    step: float = ROUNDING_STEP,
    events: Events = SILENT,
) -> Memory:
    """Return a memory of at most `count` of a model's training images; see `select_balanced`.

    Args:
        model: The detector.
        samples: Images to choose from.
        count: Maximum number of images to remember.
        labels: Exhaustive labels of the samples without `labelled`. Empty: the labels of the model.
        size: Input size.
        step: Rounding step of the features.
        events: Receives an event for each image.

    Raises:
        ConfigError: There are no samples, the size does not fit, or the network has no backbone.
        DatasetError, ImageError, OSError: An image cannot be read.
    """
    if not samples:
        raise ConfigError("there are no images to remember.")
    layers = feature_layers(model.spec.network, frozenset(backbone_layers(model.spec.network)))
    if not layers:
        raise ConfigError(f"{model.name}: the network has no layers before its head, so it cannot have a memory.")
    chosen = choose(samples, count)
    sources = stored_layers(model.spec.network, layers)
    basis_samples = chosen[:: -(-len(chosen) // BASIS_IMAGES)]
    outputs = [features for _, features in _features(model, sources, basis_samples, size)]
    cells = {
        each.feature_layer: np.concatenate([one[each.name].reshape(-1, one[each.name].shape[-1]) for one in outputs]) for each in sources
    }
    memory = Memory(layers, {layer: Basis.fit(values, step=step) for layer, values in cells.items()}, ())
    return memory.with_images(remember(memory, model, chosen, labels or model.spec.labels, size, events=events))


def choose(samples: Sequence[Sample], count: int, seed: int = 0) -> list[Sample]:
    """Return at most `count` samples; see `select_balanced`."""
    return [samples[index] for index in select_balanced([sample.labels for sample in samples], count, seed)]


def remember(
    memory: Memory, model: Model, samples: Sequence[Sample], labels: Sequence[str], size: int, *, events: Events = SILENT
) -> list[RememberedImage]:
    """Return the remembered images of samples, in the bases of a memory.

    Args:
        memory: The memory with the bases.
        model: The model of the memory, or one with the same frozen layers.
        samples: The images.
        labels: Exhaustive labels of the samples without `labelled`.
        size: Input size.
        events: Receives an event for each image.

    Raises:
        ConfigError: The size does not fit the network.
        DatasetError, ImageError, OSError: An image cannot be read.
    """
    sources = stored_layers(model.spec.network, memory.layers)
    images = []
    for sample, (placement, features) in zip(samples, _features(model, sources, samples, size), strict=True):
        codes = [memory.bases[each.feature_layer].encode(features[each.name]).tobytes() for each in sources]
        images.append(_remembered(sample, placement, compress(b"".join(codes)), labels))
        events.image_evaluated()
    return images


def _remembered(sample: Sample, placement: Placement, compressed: bytes, labels: Sequence[str]) -> RememberedImage:
    names = sorted(set(sample.labels))
    truth = ground_truth(sample, names, "ignore")
    boxes = np.clip(placement.to_network(truth.boxes), 0, placement.size)
    visible = np.all(boxes[:, 2:4] > boxes[:, 0:2] + MIN_SIDE, axis=1)
    labelled = frozenset(labels) if sample.labelled is None else sample.labelled
    kept = tuple(names[class_id] for class_id in truth.class_ids[visible])
    return RememberedImage(placement.size, compressed, boxes[visible].astype(np.float32), kept, truth.roles[visible], labelled)


def _features(
    model: Model, sources: Sequence[StoredLayer], samples: Sequence[Sample], size: int
) -> Iterator[tuple[Placement, dict[str, Array]]]:
    """Yield the placement of each sample, and the outputs (side, side, C) of the stored layers."""
    if size % model.spec.size_multiple:
        raise ConfigError(f"the input size of the memory must be a multiple of {model.spec.size_multiple}, got {size}.")
    resized = replace(model, spec=replace(model.spec, input_size=size), quantization=None)
    order = [layer.name for layer in model.spec.network]
    extractor = OnnxFeatureExtractor.of(resized, tuple(sorted({source.name for source in sources}, key=order.index)))
    for sample in samples:
        image = sample.load_image()
        placement = Placement.fit(resized.spec, image)
        yield placement, {name: output[0] for name, output in extractor(placement.apply(image)[None]).items()}
