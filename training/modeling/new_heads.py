"""A detector where there was none: YOLOv2's head upon a stem that was trained for something else, or upon one never trained."""

from dataclasses import replace

from detector.grid import Anchors
from detector.network import Backbone, Conv, darknet19, efficientnet_lite0, tiny_backbone, yolov2
from detector.shapes import output_shapes
from detector.spec import Model, ModelSpec
from training.config import Config
from training.errors import ConfigError
from training.modeling.transfer import fresh_arrays

ANCHORS = 5
"""Of a new head (YOLO9000, section 2, figure 2)."""


def untrained_backbone(config: Config) -> Model:
    """The stem that `config.network` names, with initial weights."""
    stems = {"darknet19": lambda: darknet19(config.width), "tiny": tiny_backbone, "efficientnet-lite0": efficientnet_lite0}
    layers = stems[config.network]().layers
    spec = ModelSpec((), (), layers, resample="antialiased")
    return Model(f"untrained-{config.network}", spec, fresh_arrays(layers, config))


def with_head(stem: Model, labels: tuple[str, ...], anchors: Anchors, config: Config) -> tuple[Model, frozenset[str]]:
    """A detector of the stem and a new head, and the new convolutions' names.

    Raises ConfigError where the stem has nothing for the passthrough, NetworkError where the parts do not fit.
    """
    layers = stem.spec.network
    network = yolov2(labels, backbone=Backbone(layers, _finer(stem)), anchors=len(anchors), filters=config.head_filters)
    spec = replace(stem.spec, labels=labels, anchors=anchors, network=network)
    head = frozenset(layer.name for layer in network[len(layers) :] if isinstance(layer, Conv))
    return Model(stem.name, spec, fresh_arrays(network, config) | dict(stem.arrays), stem.provenance), head


def _finer(stem: Model) -> str:
    """The last layer with twice as many cells a side as the stem's output: what the passthrough takes."""
    shapes = output_shapes(stem.spec.network, stem.spec.input_size)
    cells = list(shapes.values())[-1].side
    finer = [name for name, shape in shapes.items() if shape.side == 2 * cells]
    if not finer:
        raise ConfigError(f"{stem.name}: no layer has twice as many cells as the last, so there is nothing to pass through to a head.")
    return finer[-1]
