"""Names for layers that come without any, as those of a Darknet .cfg do."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from detector.network import Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut, Upsample, darknet19, tiny, tiny_yolov2, yolov2


def named(network: Network) -> Network:
    """The same network with the names of our own YOLOv2, Tiny YOLOv2 or Darknet19 if it is one of them (whatever its widths) or
    begins as one of them does (with its widths), and else with names by stage: conv3_1, pool3, route1.

    A stage ends at each max pool, reorg, upsample and strided convolution; the strided convolution is the first of the next.
    """
    known = (yolov2(()), tiny_yolov2(()), tiny_yolov2((), filters=512), darknet19().layers, tiny().layers)
    twin = next((other for other in known if _alike(network, other)), None)
    return renamed(network, [layer.name for layer in twin[: len(network)]] if twin else _by_stage(network))


def renamed(network: Network, names: Sequence[str]) -> Network:
    """The network with new names, one for each layer, in references too."""
    new = {layer.name: name for layer, name in zip(network, names, strict=True)}
    return tuple(_renamed(layer, new) for layer in network)


def _renamed(layer: Layer, new: dict[str, str]) -> Layer:
    match layer:
        case Route():
            return Route(new[layer.name], tuple(new[name] for name in layer.layers))
        case Shortcut():
            return replace(layer, name=new[layer.name], source=new[layer.source])
        case _:
            return replace(layer, name=new[layer.name])


def _alike(network: Network, other: Network) -> bool:
    widths = len(network) < len(other)  # stems of any kind begin alike: only the widths tell them apart
    return len(network) <= len(other) and _skeleton(network, widths=widths) == _skeleton(other[: len(network)], widths=widths)


def _skeleton(network: Network, *, widths: bool) -> Network:
    """The network without what does not matter here: positions for names, no epsilon, no reorg order, perhaps no widths."""
    return tuple(_bare(layer, widths=widths) for layer in renamed(network, [str(index) for index in range(len(network))]))


def _bare(layer: Layer, *, widths: bool) -> Layer:
    match layer:
        case Conv():
            return replace(layer, epsilon=0.0, filters=layer.filters if widths else 1)
        case Reorg():
            return replace(layer, order="darknet")
        case _:
            return layer


def _by_stage(network: Network) -> list[str]:
    stages = _stages(network)
    sizes = Counter(stage for layer, stage in zip(network, stages, strict=True) if isinstance(layer, Conv))
    counts: Counter[str] = Counter()
    names = []
    for layer, stage in zip(network, stages, strict=True):
        kind = f"conv{stage}" if isinstance(layer, Conv) else _KINDS[type(layer)]
        counts[kind] += 1
        if not isinstance(layer, Conv):
            names.append(f"{kind}{counts[kind]}")
        else:
            names.append(kind if sizes[stage] == 1 else f"{kind}_{counts[kind]}")
    return names


def _stages(network: Network) -> list[int]:
    """The stage of every layer, from 1."""
    stages: list[int] = []
    stage, convolutions = 1, 0
    for layer in network:
        ends = isinstance(layer, MaxPool | Reorg | Upsample) or (isinstance(layer, Conv) and layer.stride > 1)
        if ends and convolutions:
            stage, convolutions = stage + 1, 0
        convolutions += isinstance(layer, Conv)
        stages.append(stage)
    return stages


_KINDS: dict[type[Layer], str] = {MaxPool: "pool", Reorg: "reorg", Route: "route", Shortcut: "shortcut", Upsample: "upsample"}
