"""Detectors with a new head on a backbone: an untrained one, one trained for another task, or that of a detector."""

from dataclasses import replace

from detector.grid import Anchors
from detector.network import Backbone, Conv, Network, darknet19, efficientnet_lite0, tiny_backbone, upsampling_head, yolov2
from detector.shapes import Array, array_shapes, output_shapes
from detector.spec import Model, ModelSpec
from training.config import Config
from training.errors import ConfigError
from training.modeling.transfer import backbone_layers, fresh_arrays, hidden_head_layers


def untrained_backbone(config: Config) -> Model:
    """Return the backbone that `config.network` names, with initial weights."""
    backbones = {"darknet19": lambda: darknet19(config.width), "tiny": tiny_backbone, "efficientnet-lite0": efficientnet_lite0}
    layers = backbones[config.network]().layers
    spec = ModelSpec((), (), layers, resample="antialiased")
    return Model(f"untrained-{config.network}", spec, fresh_arrays(layers, config))


def with_head(
    backbone: Model, labels: tuple[str, ...], anchors: Anchors, config: Config, detector: Model | None = None
) -> tuple[Model, frozenset[str]]:
    """Return a detector with a new head on the backbone, and the names of the new convolutions.

    Args:
        backbone: The backbone.
        labels: Labels of the new head.
        anchors: Anchors of the new head, in grid cells.
        config: Options.
        detector: Detector that the backbone belongs to. Hidden layers of its head that the new head has too keep their weights.

    Raises:
        ConfigError: The backbone has no layer for the passthrough.
        NetworkError: Backbone and head do not fit together.
    """
    layers = backbone.spec.network
    base = Backbone(layers, _last_finer_layer(backbone, 2))
    if config.head in ("fine", "finest"):
        finer = _last_finer_layer(backbone, 4) if config.head == "finest" else None
        network = upsampling_head(labels, backbone=base, finer=finer, anchors=len(anchors), filters=config.head_filters)
    else:
        network = yolov2(labels, backbone=base, anchors=len(anchors), filters=config.head_filters)
    spec = replace(backbone.spec, labels=labels, anchors=anchors, network=network)
    kept = _common_head_layers(network, detector) if detector else {}
    new = frozenset(layer.name for layer in network[len(layers) :] if isinstance(layer, Conv) and f"{layer.name}/kernel" not in kept)
    return Model(backbone.name, spec, fresh_arrays(network, config) | dict(backbone.arrays) | kept, backbone.provenance), new


def _common_head_layers(network: Network, detector: Model) -> dict[str, Array]:
    """Arrays of the hidden head layers that have the same name and shapes in the network and in a detector."""
    shapes, arrays = array_shapes(network), detector.arrays
    different = {
        name.rpartition("/")[0] for name in shapes.keys() | arrays.keys() if name not in arrays or shapes.get(name) != arrays[name].shape
    }
    common = {layer.name for layer in hidden_head_layers(network)} - different
    return {name: array for name, array in arrays.items() if name.rpartition("/")[0] in common}


def without_head(model: Model) -> Model:
    """Return the backbone of a detector."""
    names = set(backbone_layers(model.spec.network))
    layers = tuple(layer for layer in model.spec.network if layer.name in names)
    spec = replace(model.spec, labels=(), anchors=(), network=layers)
    arrays = {name: array for name, array in model.arrays.items() if name in array_shapes(layers)}
    return Model(model.name, spec, arrays, model.provenance)


def head_stride(backbone: Model, config: Config) -> int:
    """Return the stride, in network pixels, of the new head that the config describes."""
    return backbone.spec.stride // {"fine": 2, "finest": 4}.get(config.head, 1)


def _last_finer_layer(backbone: Model, factor: int) -> str:
    """The last layer with `factor` times as many cells per side as the backbone's output."""
    shapes = output_shapes(backbone.spec.network, backbone.spec.input_size)
    cells = factor * list(shapes.values())[-1].side
    candidates = [name for name, shape in shapes.items() if shape.side == cells]
    if not candidates:
        raise ConfigError(f"{backbone.name}: the head requires a layer with {factor} times as many cells per side as the last layer.")
    return candidates[-1]
