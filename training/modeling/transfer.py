"""Adapt a trained model to new labels and anchors, and initialise its new weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import keras
import numpy as np

from detector.boxes.grid import Anchors, shape_iou
from detector.network.layers import Activation, Conv, Network, Route, Upsample
from detector.network.shapes import Array, array_shapes
from detector.network.spec import Model, ModelSpec
from detector.onnx.graph import fold_batch_norm
from training.config.options import Config
from training.errors import ConfigError

BOX_OUTPUTS = 5  # x, y, w, h, objectness: the outputs of an anchor that precede the classes.
OBJECTNESS_PRIOR = 0.01  # Initial objectness of a new output layer. At 0.5 the background would dominate the first steps.


@dataclass(frozen=True)
class InitialModel:
    """The model that a run starts with."""

    model: Model
    reinitialised: frozenset[str]  # convolutions with at least one new output
    rare_labels: frozenset[str] = frozenset()  # new labels that are trained together with kept ones, see `Config.rarity`


def transfer(
    model: Model, labels: Sequence[str], anchors: Anchors, config: Config, reinitialised: frozenset[str] = frozenset()
) -> InitialModel:
    """Return the model with other labels and anchors. Labels in both models keep their weights, unless `new_layers` is "head" or "all".

    Args:
        model: A detector.
        labels: New labels.
        anchors: New anchors, in grid cells.
        config: Options.
        reinitialised: Convolutions that have no trained weights yet.

    Raises:
        ConfigError: The model has no anchors, or the options do not fit it.
        NetworkError: The parts do not fit together.
    """
    if not model.spec.is_detector:
        raise ConfigError(f"{model.name}: the model is a backbone without a head. Add a head first.")
    output = output_layer(model.spec.network)
    new = _new_layers(model.spec.network, config) | reinitialised
    network = tuple(_adapted(layer, layer.name in new - {output.name}, config) for layer in model.spec.network)
    outputs = replace(output, filters=len(anchors) * (BOX_OUTPUTS + len(labels)))
    network = tuple(outputs if layer.name == output.name else layer for layer in network)
    spec = replace(model.spec, labels=tuple(labels), anchors=anchors, network=network)
    arrays = fresh_arrays(spec.network, config)
    arrays[f"{output.name}/bias"] = _with_objectness_prior(arrays[f"{output.name}/bias"], spec)
    for layer in model.spec.network:
        if isinstance(layer, Conv) and layer.name not in new and layer.name != output.name:
            arrays |= _transferred(layer, model, folded=config.batch_norm == "off")
    if output.name not in new:
        arrays |= _transferred_output(model, spec, output.name, arrays)
    known = set(labels) <= set(model.spec.labels)
    return InitialModel(Model(model.name, spec, arrays, model.provenance), frozenset(new if known else new | {output.name}))


def output_layer(network: Network) -> Conv:
    """Return the last layer, which must be a convolution. Raises ConfigError otherwise."""
    if not isinstance(network[-1], Conv):
        raise ConfigError(
            f"the network ends with layer {network[-1].name!r}. Only a network that ends with a convolution can be fine-tuned."
        )
    return network[-1]


def backbone_layers(network: Network) -> tuple[str, ...]:
    """Return the names of the layers before the head.

    YOLOv2's head starts with the two convolutions before the passthrough's route (YOLO9000, section 3; Darknet cfg/yolov2-voc.cfg).
    Without a passthrough, the head is the last two convolutions. An upsampling head starts with the last convolution before its Upsample.
    """
    names = [layer.name for layer in network]
    upsamples = [index for index, layer in enumerate(network) if isinstance(layer, Upsample)]
    routes = [index for index, layer in enumerate(network) if isinstance(layer, Route) and len(layer.layers) == 1]
    end, in_head = (upsamples[0], 1) if upsamples else (routes[-1] if routes else len(network), 2)
    convolutions = [layer.name for layer in network[:end] if isinstance(layer, Conv)]
    return tuple(names[: names.index(convolutions[-in_head])]) if len(convolutions) > in_head else ()


def hidden_head_layers(network: Network) -> tuple[Conv, ...]:
    """Return the convolutions between the backbone and the output."""
    backbone = set(backbone_layers(network))
    return tuple(layer for layer in network[:-1] if isinstance(layer, Conv) and layer.name not in backbone)


def frozen_layers(network: Network, freeze: str) -> frozenset[str]:
    """Return the layers that an option value freezes.

    Args:
        network: All layers.
        freeze: "none", "backbone", "all-but-head" (all but the output layer), or the name of a layer, which is frozen with all layers
            before it.

    Raises:
        ConfigError: The network has no such layer.
    """
    names = [layer.name for layer in network]
    match freeze:
        case "none":
            return frozenset()
        case "backbone":
            return frozenset(backbone_layers(network))
        case "all-but-head":
            return frozenset(names[:-1])
        case _ if freeze in names:
            return frozenset(names[: names.index(freeze) + 1])
        case _:
            raise ConfigError(f"freeze: there is no layer {freeze!r}. Possible values: none, backbone, all-but-head, {', '.join(names)}.")


def _new_layers(network: Network, config: Config) -> set[str]:
    convolutions = {layer.name for layer in network if isinstance(layer, Conv)}
    match config.new_layers:
        case "output":
            return set()
        case "head":
            return convolutions - set(backbone_layers(network))
        case "all":
            return convolutions


def _adapted(layer: Any, new: bool, config: Config) -> Any:
    if not isinstance(layer, Conv):
        return layer
    if config.batch_norm == "off":
        layer = replace(layer, normalize=False)
    if new and config.activation in get_args(Activation) and layer.activation != "linear":
        layer = replace(layer, activation=config.activation)
    return layer


def _transferred(layer: Conv, model: Model, *, folded: bool) -> dict[str, Array]:
    """Return the layer's arrays. If `folded`, its batch norm is folded into kernel and bias, which does not change its output."""
    if folded:
        kernel, bias = fold_batch_norm(layer, model.arrays)
        return {f"{layer.name}/kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), f"{layer.name}/bias": bias}
    return {name: array for name, array in model.arrays.items() if name.rpartition("/")[0] == layer.name}


def fresh_arrays(network: Network, config: Config) -> dict[str, Array]:
    """Return initial arrays: kernels from the config's initialiser, all others neutral."""
    arrays: dict[str, Array] = {}
    for index, (name, shape) in enumerate(array_shapes(network).items()):
        part = name.rpartition("/")[2]
        if part == "kernel":
            arrays[name] = np.asarray(initializer(config, index)(shape), np.float32)
        else:
            arrays[name] = np.full(shape, 1 if part in ("gamma", "variance") else 0, np.float32)
    return arrays


def initializer(config: Config, index: int) -> Any:
    """Return Keras's VarianceScaling: variance 2 / fan for he, 1 / fan for glorot and lecun. `index` selects the random numbers."""
    fan = "fan_avg" if config.init == "glorot" else "fan_in"
    return keras.initializers.VarianceScaling(
        scale=2.0 if config.init == "he" else 1.0,
        mode=fan if config.init_mode == "default" else config.init_mode,
        distribution="truncated_normal" if config.init_distribution == "normal" else "uniform",
        seed=config.seed + index,
    )


def _transferred_output(model: Model, spec: ModelSpec, name: str, fresh: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of the output layer for new labels and anchors. Known classes, boxes and objectness keep their weights."""
    old = {part: _by_anchor(model.arrays[f"{name}/{part}"], model.spec) for part in ("kernel", "bias")}
    new = {part: _by_anchor(fresh[f"{name}/{part}"], spec) for part in ("kernel", "bias")}
    anchors = np.array(spec.anchors, np.float32)
    sources = shape_iou(anchors, np.array(model.spec.anchors, np.float32)).argmax(axis=1)  # each new anchor copies the most similar one
    for part in ("kernel", "bias"):
        new[part][..., :BOX_OUTPUTS] = old[part][..., sources, :BOX_OUTPUTS]
        for index, label in enumerate(spec.labels):
            if label in model.spec.labels:
                old_index = BOX_OUTPUTS + model.spec.labels.index(label)
                new[part][..., BOX_OUTPUTS + index] = old[part][..., sources, old_index]
    # size = exp(logit) * anchor: adding the logarithm of the ratio keeps the size when the anchor changes
    new["bias"][:, 2:4] += np.log(np.array(model.spec.anchors, np.float32)[sources] / anchors)
    return {f"{name}/{part}": array.reshape(*array.shape[:-2], -1) for part, array in new.items()}


def _with_objectness_prior(bias: Array, spec: ModelSpec) -> Array:
    """Return the bias of a new output layer with a low objectness, because objects are rare (Lin et al., arXiv 1708.02002, section 3.3)."""
    bias = _by_anchor(bias, spec)
    bias[..., 4] = np.log(OBJECTNESS_PRIOR / (1 - OBJECTNESS_PRIOR))
    return bias.reshape(-1)


def _by_anchor(array: Array, spec: ModelSpec) -> Array:
    """(..., A * (5 + C)) -> (..., A, 5 + C), a copy."""
    return array.reshape(*array.shape[:-1], len(spec.anchors), -1).copy()
