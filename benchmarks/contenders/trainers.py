"""Contenders for training speed: each call makes BLOCK steps of BATCH images. `benchmarks.contenders.process` runs them.

All train `everyday`'s network at 288 pixels, except keras-hub, which has no YOLOv2. Its RetinaNet has the same backbone,
EfficientNet-Lite0, and needs more operations per image. Plain Keras has the cheapest loss that trains every output, the mean squared
error. So its time is that of the network and the optimizer alone. Images are in memory. Only `boxwright cached head` reads its
input, the cached features, from a file.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.training.datasets import generate_dataset

if TYPE_CHECKING:
    from detector.network.spec import Model

BATCH, BLOCK, SIDE = 8, 4, 288
CLASSES = 20
Step = Callable[[], Any]


def boxwright_full(**options: Any) -> Step:
    """Make steps of our Trainer with the default loss and optimizer. They train every layer, unless the options freeze some."""
    trainer, images, targets = _trainer(**options)
    return lambda: [trainer.step(images, targets, number=0, learning_rate=1e-5) for _ in range(BLOCK)] and np.zeros(1)


def boxwright_cached_head() -> Step:
    """Make steps that train only the head, on cached features of the frozen backbone, which are read from a file."""
    from training.config.options import Config
    from training.data.batches import Batches
    from training.data.voc_reader import read_set
    from training.events import Events
    from training.features.cache import FeatureCache
    from training.modeling.transfer import frozen_layers, transfer
    from training.run.trainer import Trainer

    folder = Path(tempfile.mkdtemp())
    samples, model = read_set(generate_dataset(folder / "data", 4 * BATCH), "train"), _model()
    options: dict[str, Any] = {"batch_size": BATCH, "sizes": str(SIDE), "cache_features": 1, "epochs": 10_000, "unfreeze_at": 10_000.0}
    config = Config(**options, mosaic_until=1.0)
    start = transfer(model, ["rectangle"], model.spec.anchors, config)
    frozen = frozen_layers(start.model.spec.network, config.freeze)
    cache, trainer = FeatureCache.create(start.model, frozen, Batches(samples, start.model.spec, config)), Trainer(start, config, frozen)

    def stream() -> Iterator[Any]:
        for first in count(0, BLOCK):
            yield from cache.stream(first, first + BLOCK, Events(), lambda: False)

    steps = stream()

    def run() -> Any:
        for _ in range(BLOCK):
            features, targets = next(steps)
            trainer.step(features, targets, number=0, learning_rate=1e-5)
        return np.zeros(1)

    return run


def keras_hub() -> Step:
    """Call `fit` of keras-hub's RetinaNet with EfficientNet-Lite0, levels 3 to 5."""
    import keras
    import keras_hub as hub

    encoder = hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        stackwise_squeeze_and_excite_ratios=[0] * 7,
        stackwise_block_types=["v1"] * 7,
        stackwise_width_coefficients=[1.0] * 7,
        stackwise_depth_coefficients=[1.0] * 7,
        activation="relu6",
        input_shape=(SIDE, SIDE, 3),
    )
    backbone = hub.models.RetinaNetBackbone(encoder, min_level=3, max_level=5, use_p5=False, image_shape=(SIDE, SIDE, 3))
    network = hub.models.RetinaNetObjectDetector(backbone, num_classes=CLASSES, bounding_box_format="xyxy")
    losses = keras.losses.Huber(reduction="sum"), keras.losses.BinaryFocalCrossentropy(from_logits=True, reduction="sum")
    network.compile(optimizer=keras.optimizers.AdamW(1e-5), box_loss=losses[0], classification_loss=losses[1])
    images = _images(BLOCK * BATCH)
    boxes = np.tile(np.array([[50, 60, 200, 280], [20, 100, 140, 250]], np.float32), (len(images), 1, 1))
    truth = {"boxes": boxes, "labels": np.tile(np.array([1, 2], np.int64), (len(images), 1))}
    return lambda: _fit(network, images, truth)


def _trainer(**options: Any) -> tuple[Any, Any, Any]:
    from training.config.options import Config
    from training.data.ground_truth import GroundTruth
    from training.data.targets import dense_targets
    from training.modeling.transfer import frozen_layers, transfer
    from training.run.trainer import Trainer

    model = _model()
    values: dict[str, Any] = {"batch_size": BATCH, "sizes": str(SIDE), "freeze": "none", "batch_norm": "train"}
    config = Config(**values | options)
    start = transfer(model, [f"label {number}" for number in range(CLASSES)], model.spec.anchors, config)
    trainer = Trainer(start, config, frozen_layers(start.model.spec.network, config.freeze))
    boxes = np.array([[50, 60, 200, 280], [20, 100, 140, 250]], np.float32)
    image_targets: Any = dense_targets(GroundTruth(boxes, np.array([1, 2]), np.zeros(2, np.int8)), start.model.spec, max_boxes=4)
    return trainer, _images(BATCH), {name: np.stack([array] * BATCH) for name, array in image_targets.items()}


def keras_fit(*, freeze: bool) -> Step:
    """Call `fit` of a plain Keras model of the same network. A frozen backbone is computed in every step."""
    import keras

    from detector.network.keras_model import build_keras
    from training.modeling.transfer import backbone_layers

    model = _model()
    network = build_keras(model)
    names = set(backbone_layers(model.spec.network)) if freeze else set()
    for layer in network.layers:
        layer.trainable = layer.name.removesuffix("_bn") not in names
    network.compile(optimizer=keras.optimizers.AdamW(1e-5), loss="mse")
    images = _images(BLOCK * BATCH)
    targets = np.zeros((len(images), *network.output_shape[1:]), np.float32)
    return lambda: _fit(network, images, targets)


def _model() -> "Model":
    """Return `everyday` for images of SIDE pixels."""
    from weights.hub.resolve import resolve_model

    return resolve_model(None).at_input_size(SIDE)


def _fit(network: Any, images: Any, targets: Any) -> Any:
    return np.array(network.fit(images, targets, batch_size=BATCH, epochs=1, shuffle=False, verbose=0).history["loss"])


def _images(number: int) -> Any:
    return np.random.default_rng(0).uniform(0, 255, (number, SIDE, SIDE, 3)).astype(np.float32)


TRAINERS: dict[str, Callable[[], Step]] = {
    "boxwright full": boxwright_full,
    "boxwright bfloat16 full": partial(boxwright_full, precision="bfloat16"),
    "keras fit full": partial(keras_fit, freeze=False),
    "keras-hub full": keras_hub,
    "boxwright cached head": boxwright_cached_head,
    "boxwright head": partial(boxwright_full, freeze="backbone", unfreeze_at=10_000.0),
    "keras fit head": partial(keras_fit, freeze=True),
}
"""The last word names the trained part."""
