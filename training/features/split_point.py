"""Where a network is split into a frozen part, which runs once per image, and a trained part, which reads its features."""

from detector.network import Conv, Network, Route, Shortcut


def feature_layers(network: Network, frozen: frozenset[str]) -> tuple[str, ...]:
    """Return the layers of the frozen part that the trained part reads from.

    The trained part begins at the first convolution that is not frozen. There are several feature layers if later layers read earlier ones
    by name, as the passthrough does.

    Args:
        network: All layers.
        frozen: Names of the layers that are not trained.

    Returns:
        Layer names in network order. Empty if no convolution is trained, or if the first layer is.
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
