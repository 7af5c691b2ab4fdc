"""New heads: on a stem that was trained for something else, on an untrained one, or in place of a detector's own head."""

from dataclasses import replace

from detector.grid import Anchors
from detector.network import Backbone, Conv, darknet19, efficientnet_lite0, tiny, upsampling_head, yolov2
from detector.shapes import array_shapes, trace
from detector.spec import Model, ModelSpec
from training.config import Config
from training.errors import ConfigError
from training.modeling.transfer import backbone, fresh_arrays


def untrained_backbone(config: Config) -> Model:
    """The stem that `config.network` names, with initial weights."""
    stems = {"darknet19": lambda: darknet19(config.width), "tiny": tiny, "efficientnet-lite0": efficientnet_lite0}
    layers = stems[config.network]().layers
    spec = ModelSpec((), (), layers, resample="antialiased")
    return Model(f"untrained-{config.network}", spec, fresh_arrays(layers, config))


def with_head(stem: Model, labels: tuple[str, ...], anchors: Anchors, config: Config) -> tuple[Model, frozenset[str]]:
    """A detector of the stem and a new head, and the new convolutions' names.

    Raises ConfigError where the stem has nothing for the passthrough, NetworkError where the parts do not fit.
    """
    layers = stem.spec.network
    make = upsampling_head if config.head == "fine" else yolov2
    network = make(labels, stem=Backbone(layers, _finer(stem)), anchors=len(anchors), filters=config.head_filters)
    spec = replace(stem.spec, labels=labels, anchors=anchors, network=network)
    head = frozenset(layer.name for layer in network[len(layers) :] if isinstance(layer, Conv))
    return Model(stem.name, spec, fresh_arrays(network, config) | dict(stem.arrays), stem.provenance), head


def without_head(model: Model) -> Model:
    """Return the backbone of a detector as a stem."""
    layers = tuple(layer for layer in model.spec.network if layer.name in set(backbone(model.spec.network)))
    spec = replace(model.spec, labels=(), anchors=(), network=layers)
    arrays = {name: array for name, array in model.arrays.items() if name in array_shapes(layers)}
    return Model(model.name, spec, arrays, model.provenance)


def head_stride(stem: Model, config: Config) -> int:
    """Network pixels along a side of a cell of the head that the config asks for."""
    return stem.spec.stride // 2 if config.head == "fine" else stem.spec.stride


def _finer(stem: Model) -> str:
    """The last layer with twice as many cells a side as the stem's output: what the passthrough takes."""
    shapes = trace(stem.spec.network, stem.spec.input_size)
    cells = list(shapes.values())[-1].side
    finer = [name for name, shape in shapes.items() if shape.side == 2 * cells]
    if not finer:
        raise ConfigError(f"{stem.name}: no layer has twice as many cells as the last, so there is nothing to pass through to a head.")
    return finer[-1]
