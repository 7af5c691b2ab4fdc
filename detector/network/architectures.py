"""The networks that Boxwright can build: backbones, and detectors on a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from detector.network.layers import Conv, Layer, MaxPool, Network, Reorg, ReorgOrder, Route, Shortcut, Upsample


@dataclass(frozen=True)
class Backbone:
    """A backbone, and the layer that feeds the passthrough: stride 16 if the backbone has stride 32."""

    layers: Network
    passthrough: str


def darknet19(width: float = 1.0) -> Backbone:
    """Darknet19 without its classifier: 18 convolutions, stride 32 (YOLO9000, arXiv 1612.08242, table 6).

    Args:
        width: Factor of every layer's filters. 0.5 has about a quarter of the weights.
    """
    stages = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512), (1024, 512, 1024, 512, 1024))
    layers: list[Layer] = []
    for stage, filters in enumerate(stages, start=1):
        if stage > 1:
            layers.append(MaxPool(f"pool{stage - 1}"))
        for index, count in enumerate(filters, start=1):
            name = f"conv{stage}" if len(filters) == 1 else f"conv{stage}_{index}"
            layers.append(Conv(name, max(1, round(count * width)), size=3 if index % 2 else 1))
    return Backbone(tuple(layers), passthrough="conv5_5")


def tiny_backbone() -> Backbone:
    """The backbone of Tiny YOLOv2: seven convolutions, stride 32, the last pool of stride 1 (Darknet cfg/yolov2-tiny-voc.cfg)."""
    layers: list[Layer] = []
    for stage, filters in enumerate((16, 32, 64, 128, 256, 512, 1024), start=1):
        if stage > 1:
            layers.append(MaxPool(f"pool{stage - 1}", stride=1 if stage == 7 else 2))
        layers.append(Conv(f"conv{stage}", filters))
    return Backbone(tuple(layers), passthrough="conv5")


def efficientnet_lite0() -> Backbone:
    """EfficientNet-Lite0 without its classifier: 16 inverted-residual blocks, stride 32 (arXiv 1905.11946).

    Lite has no squeeze-and-excitation and uses ReLU6. The padding is TensorFlow's "same": an odd pixel goes to the right and bottom.
    """
    layers: list[Layer] = [_lite("stem", 32, size=3, stride=2)]
    #         repeats, filters, size, stride, expansion
    stages = (
        (1, 16, 3, 1, 1),
        (2, 24, 3, 2, 6),
        (2, 40, 5, 2, 6),
        (3, 80, 3, 2, 6),
        (3, 112, 5, 1, 6),
        (4, 192, 5, 2, 6),
        (1, 320, 3, 1, 6),
    )
    channels, block, output = 32, 0, "stem"
    for repeats, filters, size, stride, expansion in stages:
        for repeat in range(repeats):
            block += 1
            name, expanded = f"block{block}", channels * expansion
            if expansion > 1:
                layers.append(_lite(f"{name}_expand", expanded))
            layers.append(_lite(f"{name}_depthwise", expanded, size=size, stride=1 if repeat else stride, groups=expanded))
            layers.append(replace(_lite(f"{name}_project", filters), activation="linear"))
            if repeat:
                layers.append(Shortcut(f"{name}_add", source=output))
            channels, output = filters, layers[-1].name
    return Backbone(tuple(layers), passthrough="block11_add")


def _lite(name: str, filters: int, *, size: int = 1, stride: int = 1, groups: int = 1) -> Conv:
    total = size - stride if stride > 1 else size - 1  # inputs are even where the stride is 2
    return Conv(name, filters, size, stride, groups, activation="relu6", epsilon=1e-3, padding=(total // 2, total - total // 2))


def yolov2(
    labels: Sequence[str],
    *,
    backbone: Backbone | None = None,
    anchors: int = 5,
    filters: int = 1024,
    order: ReorgOrder = "space-to-depth",
) -> Network:
    """Build YOLOv2: backbone, two 3x3 convolutions, passthrough and head (YOLO9000 section 2; Darknet cfg/yolov2-voc.cfg).

    Args:
        labels: The classes. The head has `anchors * (5 + len(labels))` outputs.
        backbone: Backbone of the network. None uses Darknet19.
        anchors: Number of anchors.
        filters: Filters of the three 3x3 convolutions after the backbone.
        order: Channel order of the reorg.
    """
    backbone = backbone or darknet19()
    outputs = anchors * (5 + len(labels))
    first = _first_head_number(backbone)
    return (
        *backbone.layers,
        Conv(f"conv{first}", filters),
        Conv(f"conv{first + 1}", filters),
        Route("passthrough", (backbone.passthrough,)),
        Conv("conv5a", 64, size=1),
        Reorg("reorg", order=order),
        Route("concat", ("reorg", f"conv{first + 1}")),
        Conv(f"conv{first + 2}", filters),
        Conv("linear", outputs, size=1, normalize=False, activation="linear"),
    )


def _first_head_number(backbone: Backbone) -> int:
    """Return the number of the head's first convolution. The tiny backbone has a conv7."""
    return 8 if any(layer.name == "conv7" for layer in backbone.layers) else 7


def upsampling_head(
    labels: Sequence[str], *, backbone: Backbone | None = None, anchors: int = 5, filters: int = 256, lateral: int = 128
) -> Network:
    """Build a backbone and a head of stride 16 for small objects: coarse features are upsampled and joined with finer ones.

    It is a feature pyramid (Lin et al., arXiv 1612.03144) that uses only the finer level.

    Args:
        labels: The classes. The head has `anchors * (5 + len(labels))` outputs.
        backbone: Backbone of the network. None uses Darknet19.
        anchors: Number of anchors.
        filters: Filters of the head's three 3x3 convolutions.
        lateral: Filters of the 1x1 convolution that reads the finer features.
    """
    backbone = backbone or darknet19()
    first = _first_head_number(backbone)
    return (
        *backbone.layers,
        Conv(f"conv{first}", filters),
        Upsample("upsample"),
        Route("lateral", (backbone.passthrough,)),
        Conv("conv5a", lateral, size=1),
        Route("concat", ("conv5a", "upsample")),
        Conv(f"conv{first + 1}", filters),
        Conv(f"conv{first + 2}", filters),
        Conv("linear", anchors * (5 + len(labels)), size=1, normalize=False, activation="linear"),
    )


def tiny_yolov2(labels: Sequence[str], *, anchors: int = 5, filters: int = 1024) -> Network:
    """Build Tiny YOLOv2: the tiny backbone and a head without passthrough (Darknet cfg/yolov2-tiny-voc.cfg; COCO's has 512 filters)."""
    outputs = anchors * (5 + len(labels))
    return (*tiny_backbone().layers, Conv("conv8", filters), Conv("linear", outputs, size=1, normalize=False, activation="linear"))
