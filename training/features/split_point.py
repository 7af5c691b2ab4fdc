"""Split a network into a frozen part, which runs once per view, and a trained part, which reads the features of the frozen part."""

from collections.abc import Sequence
from dataclasses import dataclass

from detector.network.layers import Conv, Network, Route, Shortcut

POINTWISE_ACTIVATIONS = ("linear", "leaky", "relu", "relu6")  # Activations that `training.features.memory` computes.


def feature_layers(network: Network, frozen: frozenset[str]) -> tuple[str, ...]:
    """Return the layers of the frozen part that are inputs of the trained part.

    The trained part begins at the first convolution that is not frozen. There are several such layers if the trained part also reads
    earlier layers by name, as the passthrough does.

    Args:
        network: All layers.
        frozen: Names of the layers that are not trained.

    Returns:
        Layer names in network order. Empty if no convolution is trained, or if the first layer is trained.
    """
    names = [layer.name for layer in network]
    trained = [index for index, layer in enumerate(network) if isinstance(layer, Conv) and layer.name not in frozen]
    first = trained[0] if trained else 0
    if not first:
        return ()
    sources = {names[first - 1]}
    for layer in network[first:]:
        match layer:
            case Route():
                sources.update(layer.layers)
            case Shortcut():
                sources.add(layer.source)
            case _:
                pass
    return tuple(name for name in names[:first] if name in sources)


@dataclass(frozen=True)
class StoredLayer:
    """The layer that a memory stores for a feature layer, and the convolutions between them."""

    name: str
    feature_layer: str
    convolutions: tuple[Conv, ...] = ()  # 1x1; they compute the feature layer from the stored one


def stored_layers(network: Network, layers: Sequence[str]) -> tuple[StoredLayer, ...]:
    """Return what to store for each feature layer.

    A 1x1 convolution that increases the channels, such as the expansion of an inverted residual, adds no information. The layer before it
    is stored instead, and the convolution is computed again.

    Args:
        network: All layers.
        layers: Names of the feature layers, see `feature_layers`.
    """
    return tuple(_stored_layer(network, layer) for layer in layers)


def _stored_layer(network: Network, layer: str) -> StoredLayer:
    index = [each.name for each in network].index(layer)
    convolutions: list[Conv] = []
    while index and (expansion := _expansion(network, index)):
        convolutions.insert(0, expansion)
        index -= 1
    return StoredLayer(network[index].name, layer, tuple(convolutions))


def _expansion(network: Network, index: int) -> Conv | None:
    """Return the layer at this index if it is a 1x1 convolution that increases the channels, else None."""
    layer = network[index]
    if not isinstance(layer, Conv) or (layer.size, layer.stride, layer.groups, layer.pads) != (1, 1, 1, (0, 0)):
        return None
    before = _channels(network, index - 1)
    return layer if layer.activation in POINTWISE_ACTIVATIONS and before is not None and before < layer.filters else None


def _channels(network: Network, index: int) -> int | None:
    """Return the channels of a convolution, or of the Shortcut layers directly after one; None for other layers."""
    while index and isinstance(network[index], Shortcut):
        index -= 1
    layer = network[index]
    return layer.filters if isinstance(layer, Conv) else None
