"""Darknet's .cfg: text <-> layers, for networks of the YOLOv2 family.

Options, defaults and the meaning of a layer index are those of Darknet's src/parser.c. Training options are ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from detector.errors import NetworkError, SettingError
from detector.messages import count_of
from detector.network.layers import ACTIVATIONS, Activation, Conv, Layer, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.network.spec import Edges, ModelSpec
from weights.formats.bounded_io import MAX_LAYERS, read_small_text
from weights.formats.darknet.sections import Section, parse_sections
from weights.formats.layer_names import name_layers

DARKNET_EPSILON = 1e-12
"""`Conv.epsilon` of Darknet's batch norms. Darknet divides by sqrt(variance) + 1e-6 (src/blas.c, normalize_cpu), and we divide by
sqrt(variance + epsilon). Both are 1e-6 at variance 0. Elsewhere the relative difference is 1e-6 / sqrt(variance)."""

MAX_CFG_BYTES = 2**20
MAX_CLASSES = 100_000  # For comparison: YOLO9000 has 9418 classes.

_ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool", "reorg_old": "reorg"}
_OTHER_GENERATIONS = {"yolo": "YOLOv3 or later", "Gaussian_yolo": "YOLOv3 or later", "detection": "YOLOv1"}


def read_cfg(cfg: Path, *, labels: Sequence[str] = (), layers: int | None = None, edges: Edges = "inclusive") -> ModelSpec:
    """Read the network that a .cfg describes.

    If the network has the structure of one of ours, its layers get our names. Otherwise they are named by stage (see `layer_names`).

    Args:
        cfg: The file.
        labels: One label per class. By default they are "class 0", "class 1" and so on.
        layers: Read only this many layers, counting [region] as one. Without [region] the result is a backbone.
        edges: How the model was evaluated: "inclusive", or "continuous" with Darknet's eval=coco (see `ModelSpec`).

    Raises:
        ModelFileError: The file is unreadable or too large.
        NetworkError: A section or option is invalid or not supported. The message names the line.
        SettingError: The .cfg has fewer layers.
    """
    text = read_small_text(cfg, encoding="latin-1", limit=MAX_CFG_BYTES)  # Darknet reads bytes; only comments are not ASCII
    try:
        return parse_cfg(text, labels=labels, layers=layers, edges=edges)
    except NetworkError as error:
        raise NetworkError(f"{cfg}: {error}") from error


def parse_cfg(text: str, *, labels: Sequence[str] = (), layers: int | None = None, edges: Edges = "inclusive") -> ModelSpec:
    """Parse the text of a .cfg. See `read_cfg` for the arguments and errors."""
    sections = parse_sections(text)
    if not sections or _kind(sections[0]) != "net":
        raise NetworkError("the first section must be [net]. Is this a .cfg?")
    chosen = _first_layers(sections[1:], layers)
    region = chosen.pop() if chosen and _kind(chosen[-1]) == "region" else None
    network = name_layers(tuple(_layer(section, index) for index, section in enumerate(chosen)))
    classes, anchors = _region(region) if region else (0, ())
    return ModelSpec(_labels(labels, classes), anchors, network, input_size=_input_size(sections[0]), edges=edges)


def _kind(section: Section) -> str:
    return _ALIASES.get(section.kind, section.kind)


def _first_layers(sections: list[Section], layers: int | None) -> list[Section]:
    if layers is not None and not 1 <= layers <= len(sections):
        raise SettingError(f"--layers must be 1 to {len(sections)}, the number of layers in the .cfg; got {layers}.")
    chosen = sections[:layers]
    if len(chosen) > MAX_LAYERS:
        raise NetworkError(f"the .cfg has {len(chosen)} layers; the limit is {MAX_LAYERS}.")
    if other := next((section for section in chosen if section.kind in _OTHER_GENERATIONS), None):
        raise other.error(f"belongs to {_OTHER_GENERATIONS[other.kind]}, which is not supported. A YOLOv2 network ends with [region].")
    return chosen


def _input_size(net: Section) -> int:
    width, height, channels = (net.integer(key, at_least=1) for key in ("width", "height", "channels"))
    if width != height:
        raise net.error(f"width and height must be equal, got {width} and {height}.")
    if channels != 3:
        raise net.error(f"channels must be 3 (red, green, blue), got {channels}.")
    return width


def _labels(labels: Sequence[str], classes: int) -> tuple[str, ...]:
    if labels and len(labels) != classes:
        given, needed = count_of(len(labels), "label"), count_of(classes, "class")
        raise NetworkError(f"--labels gives {given}, but the network has {needed}. Use the labels of this network.")
    return tuple(labels) or tuple(f"class {index}" for index in range(classes))


def _layer(section: Section, index: int) -> Layer:
    """Return the layer. Its name is its index until `name_layers` renames it."""
    if _kind(section) == "region":
        raise section.error("must be the last section.")
    if _kind(section) not in _LAYERS:
        known = ", ".join(f"[{kind}]" for kind in (*_LAYERS, "region"))
        hint = f" To read only the {count_of(index, 'layer')} before it, use --layers {index}." if index else ""
        raise section.error(f"is not supported. Supported sections: {known}.{hint}")
    return _LAYERS[_kind(section)](section, index)


def _conv(section: Section, index: int) -> Conv:
    known = ("filters", "size", "stride", "pad", "padding", "groups", "activation", "batch_normalize")
    section.allow(known, {"dilation": 1, "flipped": 0, "binary": 0, "xnor": 0, "antialiasing": 0})
    size = section.integer("size", 1, at_least=1)
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
    normalize = bool(section.integer("batch_normalize", 0))
    return Conv(
        str(index),
        section.integer("filters", 1, at_least=1),
        size,
        section.integer("stride", 1, at_least=1),
        section.integer("groups", 1, at_least=1),
        normalize,
        _activation(section, "logistic"),
        DARKNET_EPSILON if normalize else Conv.epsilon,
        padding=None if padding == size // 2 else (padding, padding),
    )


def _pool(section: Section, index: int) -> MaxPool:
    section.allow(("size", "stride", "padding"), {"maxpool_depth": 0, "antialiasing": 0})
    stride = section.integer("stride", 1, at_least=1)
    size = section.integer("size", stride, at_least=1)
    padding = section.integer("padding", size - 1)
    return MaxPool(str(index), size, stride, None if padding == size - 1 else padding)


def _reorg(section: Section, index: int) -> Reorg:
    section.allow(("stride",), {"reverse": 0, "flatten": 0, "extra": 0})
    return Reorg(str(index), section.integer("stride", 1, at_least=1), order="darknet")


def _reorg3d(section: Section, index: int) -> Reorg:
    """Read [reorg3d] of AlexeyAB's Darknet. It corrects an index error of [reorg] and therefore is space-to-depth."""
    section.allow(("stride",), {"reverse": 0})
    return Reorg(str(index), section.integer("stride", 1, at_least=1), order="space-to-depth")


def _route(section: Section, index: int) -> Route:
    section.allow(("layers",), {"groups": 1, "group_id": 0})
    return Route(str(index), tuple(_reference(section, "layers", number, index) for number in section.integers("layers")))


def _shortcut(section: Section, index: int) -> Shortcut:
    section.allow(("from", "activation"), {"alpha": 1, "beta": 1})
    sources = section.integers("from")
    if len(sources) != 1:
        raise section.error(f"from must name one layer, got {len(sources)}.")
    return Shortcut(str(index), _reference(section, "from", sources[0], index), _activation(section, "linear"))


def _upsample(section: Section, index: int) -> Upsample:
    section.allow(("stride",), {"scale": 1})
    return Upsample(str(index), section.integer("stride", 2, at_least=1))


def _activation(section: Section, default: str) -> Activation:
    option = section.text("activation", default)
    if option.value not in ACTIVATIONS:
        raise section.error(f"activation must be one of {', '.join(ACTIVATIONS)}; got {option.value[:40]!r}.", option.line)
    return cast(Activation, option.value)


def _reference(section: Section, key: str, number: int, index: int) -> str:
    """Return the name of a referenced layer. A negative number counts back from this layer, others count from layer 0."""
    target = index + number if number < 0 else number
    if not 0 <= target < index:
        problem = f"is layer {index}, but {key} refers to layer {number}, which is not before it."
        raise section.error(problem, section.option(key).line)
    return str(target)


def _region(section: Section) -> tuple[int, tuple[tuple[float, float], ...]]:
    """Return the number of classes and the anchors, in grid cells."""
    section.allow(("classes", "num", "anchors", "softmax", *_REGION_TRAINING), {"coords": 4, "background": 0, "classfix": 0})
    classes, num = section.integer("classes", 20, at_least=1), section.integer("num", 1, at_least=1)
    if classes > MAX_CLASSES:
        raise section.error(f"classes must be at most {MAX_CLASSES}, got {classes}.", section.option("classes").line)
    if section.integer("softmax", 0) != 1:
        raise section.error("softmax must be 1. Class scores without softmax are not supported.")
    numbers = section.numbers("anchors")
    if len(numbers) != 2 * num:
        raise section.error(f"has num={num}, so anchors must be {2 * num} numbers; got {len(numbers)}.", section.option("anchors").line)
    return classes, tuple(zip(numbers[::2], numbers[1::2], strict=True))


_REGION_TRAINING = (
    *("bias_match", "jitter", "rescore", "absolute", "thresh", "random", "max", "log", "sqrt"),
    *("object_scale", "noobject_scale", "class_scale", "coord_scale", "mask_scale"),
)
_LAYERS: dict[str, Callable[[Section, int], Layer]] = {
    "convolutional": _conv,
    "maxpool": _pool,
    "reorg": _reorg,
    "reorg3d": _reorg3d,
    "route": _route,
    "shortcut": _shortcut,
    "upsample": _upsample,
}


def format_cfg(spec: ModelSpec) -> str:
    """Return the .cfg of a network, for Darknet and OpenCV. The .cfg of a backbone has no [region].

    A .cfg does not contain names, labels, fit, resample and edges. `write_darknet` adds the epsilon to the variances. OpenCV 4.10 supports
    only the activations leaky, linear, logistic, swish and mish. Raises NetworkError if a .cfg cannot express the network.
    """
    if (spec.pixel_scale, spec.pixel_offset) != (1 / 255, 0):
        raise NetworkError(
            f"Darknet's input is pixel / 255, but this network's is pixel * {spec.pixel_scale} + {spec.pixel_offset}; "
            "a .cfg cannot express that."
        )
    size = spec.input_size
    sections = [_text("net", {"batch": 1, "subdivisions": 1, "width": size, "height": size, "channels": 3})]
    positions = {layer.name: index for index, layer in enumerate(spec.network)}
    sections += [_layer_text(layer, positions) for layer in spec.network]
    if spec.is_detector:
        sections.append(_region_text(spec))
    return "\n".join(sections)


def _text(kind: str, options: Mapping[str, int | str]) -> str:
    return f"[{kind}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())


def _layer_text(layer: Layer, positions: Mapping[str, int]) -> str:
    position = positions[layer.name]
    match layer:
        case Conv():
            return _conv_text(layer)
        case MaxPool():
            padding = {} if layer.padding is None else {"padding": layer.padding}
            return _text("maxpool", {"size": layer.size, "stride": layer.stride} | padding)
        case Reorg():
            if layer.order != "darknet":  # [reorg3d] exists only in AlexeyAB's Darknet; `lowering` replaces the layer instead
                raise NetworkError(f"layer {layer.name!r}: Darknet's reorg is not {layer.order}; a .cfg cannot express that.")
            return _text("reorg", {"stride": layer.stride})
        case Route():
            return _text("route", {"layers": ",".join(str(positions[name] - position) for name in layer.layers)})
        case Shortcut():
            return _text("shortcut", {"from": positions[layer.source] - position, "activation": layer.activation})
        case Upsample():
            return _text("upsample", {"stride": layer.stride})


def _conv_text(layer: Conv) -> str:
    before, after = layer.pads
    if before != after:
        raise NetworkError(f"layer {layer.name!r}: a .cfg cannot express padding of {before} before and {after} after.")
    options: dict[str, int | str] = {"batch_normalize": 1} if layer.normalize else {}
    options |= {"filters": layer.filters, "size": layer.size, "stride": layer.stride}
    options |= {"pad": 1} if before == layer.size // 2 else {"padding": before}
    options |= {"groups": layer.groups} if layer.groups > 1 else {}
    return _text("convolutional", options | {"activation": layer.activation})


def _region_text(spec: ModelSpec) -> str:
    if not spec.labels:
        raise NetworkError("Darknet's [region] requires at least one class, but this network has anchors and no labels.")
    anchors = ", ".join(f"{float(side)!r}" for anchor in spec.anchors for side in anchor)
    return _text("region", {"anchors": anchors, "classes": len(spec.labels), "coords": 4, "num": len(spec.anchors), "softmax": 1})
