"""Put a new head on a backbone: an untrained one, one that was trained for another task, or that of a detector."""

from dataclasses import replace

from detector.boxes.grid import Anchors
from detector.network.architectures import Backbone, darknet19, efficientnet_lite0, tiny_backbone, upsampling_head, yolov2
from detector.network.layers import Conv
from detector.network.shapes import array_shapes, output_shapes
from detector.network.spec import Model, ModelSpec
from training.config.options import Config
from training.errors import ConfigError
from training.modeling.transfer import backbone_layers, fresh_arrays


def untrained_backbone(config: Config) -> Model:
    """Return the backbone that `config.network` names, with initial weights."""
    backbones = {"darknet19": lambda: darknet19(config.width), "tiny": tiny_backbone, "efficientnet-lite0": efficientnet_lite0}
    layers = backbones[config.network]().layers
    spec = ModelSpec((), (), layers, resample="antialiased")
    return Model(f"untrained-{config.network}", spec, fresh_arrays(layers, config))


def with_head(backbone: Model, labels: tuple[str, ...], anchors: Anchors, config: Config) -> tuple[Model, frozenset[str]]:
    """Return a detector with a new head on the backbone, and the names of the new convolutions.

    Raises ConfigError if the backbone has no layer for the passthrough, and NetworkError if backbone and head do not fit together.
    """
    layers = backbone.spec.network
    make = upsampling_head if config.head == "fine" else yolov2
    network = make(labels, backbone=Backbone(layers, _passthrough_layer(backbone)), anchors=len(anchors), filters=config.head_filters)
    spec = replace(backbone.spec, labels=labels, anchors=anchors, network=network)
    head = frozenset(layer.name for layer in network[len(layers) :] if isinstance(layer, Conv))
    return Model(backbone.name, spec, fresh_arrays(network, config) | dict(backbone.arrays), backbone.provenance), head


def without_head(model: Model) -> Model:
    """Return the backbone of a detector."""
    names = set(backbone_layers(model.spec.network))
    layers = tuple(layer for layer in model.spec.network if layer.name in names)
    spec = replace(model.spec, labels=(), anchors=(), network=layers)
    arrays = {name: array for name, array in model.arrays.items() if name in array_shapes(layers)}
    return Model(model.name, spec, arrays, model.provenance)


def head_stride(backbone: Model, config: Config) -> int:
    """Return the stride, in network pixels, of the new head that the config describes."""
    return backbone.spec.stride // 2 if config.head == "fine" else backbone.spec.stride


def _passthrough_layer(backbone: Model) -> str:
    """Return the last layer with twice as many cells per side as the backbone's output."""
    shapes = output_shapes(backbone.spec.network, backbone.spec.input_size)
    cells = list(shapes.values())[-1].side
    candidates = [name for name, shape in shapes.items() if shape.side == 2 * cells]
    if not candidates:
        raise ConfigError(f"{backbone.name}: the head's passthrough requires a layer with twice as many cells per side as the last layer.")
    return candidates[-1]
