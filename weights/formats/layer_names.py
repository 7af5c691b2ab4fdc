"""Names for layers of formats without layer names, such as a Darknet .cfg."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from detector.network.architectures import darknet19, tiny_backbone, tiny_yolov2, yolov2
from detector.network.layers import Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut, Upsample


def name_layers(network: Network) -> Network:
    """Return the network with meaningful layer names.

    A network with the structure of our YOLOv2, Tiny YOLOv2 or Darknet19 gets their names; the filter counts may differ. The first layers
    of such a network also get these names if the filter counts are equal. Every other network is named by stage: conv3_1, pool3, route1.
    A max pool, reorg, upsampling or strided convolution starts a new stage.
    """
    known = (yolov2(()), tiny_yolov2(()), tiny_yolov2((), filters=512), darknet19().layers, tiny_backbone().layers)
    match = next((other for other in known if _same_structure(network, other)), None)
    return rename_layers(network, [layer.name for layer in match[: len(network)]] if match else _names_by_stage(network))


def rename_layers(network: Network, names: Sequence[str]) -> Network:
    """Return the network with new names, one for each layer. References between layers are renamed too."""
    new = {layer.name: name for layer, name in zip(network, names, strict=True)}
    return tuple(_rename(layer, new) for layer in network)


def _rename(layer: Layer, new: dict[str, str]) -> Layer:
    match layer:
        case Route():
            return Route(new[layer.name], tuple(new[name] for name in layer.layers))
        case Shortcut():
            return replace(layer, name=new[layer.name], source=new[layer.source])
        case _:
            return replace(layer, name=new[layer.name])


def _same_structure(network: Network, other: Network) -> bool:
    with_widths = len(network) < len(other)  # the first layers of many networks differ only in their widths
    return len(network) <= len(other) and _skeleton(network, widths=with_widths) == _skeleton(other[: len(network)], widths=with_widths)


def _skeleton(network: Network, *, widths: bool) -> Network:
    """Return the network with positions as names, equal epsilons and reorg orders, and equal filter counts unless `widths`."""
    return tuple(_normalised(layer, widths=widths) for layer in rename_layers(network, [str(index) for index in range(len(network))]))


def _normalised(layer: Layer, *, widths: bool) -> Layer:
    match layer:
        case Conv():
            return replace(layer, epsilon=0.0, filters=layer.filters if widths else 1)
        case Reorg():
            return replace(layer, order="darknet")
        case _:
            return layer


def _names_by_stage(network: Network) -> list[str]:
    stages = _stages(network)
    sizes = Counter(stage for layer, stage in zip(network, stages, strict=True) if isinstance(layer, Conv))
    counts: Counter[str] = Counter()
    names = []
    for layer, stage in zip(network, stages, strict=True):
        prefix = f"conv{stage}" if isinstance(layer, Conv) else _PREFIXES[type(layer)]
        counts[prefix] += 1
        if not isinstance(layer, Conv):
            names.append(f"{prefix}{counts[prefix]}")
        else:
            names.append(prefix if sizes[stage] == 1 else f"{prefix}_{counts[prefix]}")
    return names


def _stages(network: Network) -> list[int]:
    """Return the stage of every layer, counted from 1."""
    stages: list[int] = []
    stage, convolutions = 1, 0
    for layer in network:
        starts_new = isinstance(layer, MaxPool | Reorg | Upsample) or (isinstance(layer, Conv) and layer.stride > 1)
        if starts_new and convolutions:
            stage, convolutions = stage + 1, 0
        convolutions += isinstance(layer, Conv)
        stages.append(stage)
    return stages


_PREFIXES: dict[type[Layer], str] = {MaxPool: "pool", Reorg: "reorg", Route: "route", Shortcut: "shortcut", Upsample: "upsample"}
