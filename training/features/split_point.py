"""Where a network is cut in two: a part that stays as it is, and the rest, which trains on what the first part says."""

from detector.network import Conv, Network, Route, Shortcut


def cut_layers(network: Network, still: frozenset[str]) -> tuple[str, ...]:
    """The layers whose outputs are all that the first convolution that is not `still`, and all that comes after it, read of what lies
    before; in the network's order. None where there is no such convolution, or where it is the first layer.

    They are several where upper layers read the lower part by name, as the passthrough does.
    """
    names = [layer.name for layer in network]
    moving = [index for index, layer in enumerate(network) if isinstance(layer, Conv) and layer.name not in still]
    first = moving[0] if moving else 0
    if not first:
        return ()
    read = {names[first - 1]}
    for layer in network[first:]:
        match layer:
            case Route():
                read.update(layer.layers)
            case Shortcut():
                read.add(layer.source)
            case _:
                pass
    return tuple(name for name in names[:first] if name in read)
