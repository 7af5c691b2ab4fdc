"""Map tensornets' networks and weights to ours: array names, and .npz files. This module does not import TensorFlow.

The graphs of tensornets equal our networks layer by layer (its layers.py, `darkconv`; darknets.py; references/yolos.py). They have batch
norm with epsilon 1e-5 and a separate bias, "SAME" padding, and a space-to-depth reorg. The tiny network ends with a max pool of stride 1.

The weights were trained on RGB images: `preprocess` in tensornets converts OpenCV's BGR images to RGB (datasets/voc.py, which gives the
published 73.2 mAP). Its `load_img` does so too: the example in its README converts twice and feeds BGR. We feed RGB (docs/decisions/0006).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from detector.errors import ModelFileError, NetworkError
from detector.network.architectures import darknet19, tiny_yolov2, yolov2
from detector.network.layers import Conv, Network
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec
from weights.formats.tensornets.npz import read_npz

_PARTS = {  # our part -> tensornets' variable, in its order
    "kernel": "conv/weights",
    "gamma": "bn/gamma",
    "mean": "bn/moving_mean",
    "variance": "bn/moving_variance",
    "beta": "bias/biases",
    "bias": "conv/biases",
}


@dataclass(frozen=True)
class TensornetsNetwork:
    """One of tensornets' networks."""

    function: Literal["YOLOv2", "YOLOv2COCO", "TinyYOLOv2VOC", "Darknet19"]
    scope: str  # of all variables
    backbone_scope: str  # of the backbone's variables, within `scope`
    network: Network

    @property
    def variables(self) -> dict[str, str]:
        """Our array name -> tensornets' variable, in its order: "conv5_3/kernel" -> "genYOLOv2/stem/conv5/3/conv/weights:0"."""
        ours = array_shapes(self.network)
        convolutions = [layer.name for layer in self.network if isinstance(layer, Conv)]
        return {
            f"{layer}/{part}": f"{self.scope}/{self._layer_scope(layer)}/{theirs}:0"
            for layer in convolutions
            for part, theirs in _PARTS.items()
            if f"{layer}/{part}" in ours
        }

    def _layer_scope(self, layer: str) -> str:
        if self.function == "TinyYOLOv2VOC" or layer not in _BACKBONE:
            return layer
        stage, _, index = layer.partition("_")
        return f"{self.backbone_scope}{stage}/{index or 1}"


_BACKBONE = frozenset(layer.name for layer in darknet19().layers)


def tensornets_network(spec: ModelSpec) -> TensornetsNetwork:
    """Return the network of tensornets that equals the spec's.

    tensornets has YOLOv2 on Darknet19 and Tiny YOLOv2, with five anchors and any number of labels, and the Darknet19 backbone. The head of
    Tiny YOLOv2 has 1024 filters for 20 labels and 512 otherwise. Raises NetworkError, which names the first layer that differs.
    """
    candidates = _detectors(spec.labels) if spec.is_detector else (TensornetsNetwork("Darknet19", "darknet19", "", darknet19().layers),)
    for candidate in candidates:
        if candidate.network == spec.network:
            return candidate
    nearest = max(candidates, key=lambda candidate: _common_layers(candidate.network, spec.network))
    index = _common_layers(nearest.network, spec.network)
    ours, theirs = ([*network, "nothing"][index] for network in (spec.network, nearest.network))
    raise NetworkError(
        f"tensornets has no such network: this model has {ours} where tensornets' {nearest.function} has {theirs}. "
        "tensornets supports only its own YOLOv2, Tiny YOLOv2 and Darknet19. Choose another engine or format."
    )


def _detectors(labels: tuple[str, ...]) -> tuple[TensornetsNetwork, ...]:
    full = TensornetsNetwork("YOLOv2", "genYOLOv2", "stem/", yolov2(labels))
    if len(labels) == 80:  # only this function has weights for 80 labels
        full = TensornetsNetwork("YOLOv2COCO", "REFyolov2coco", "", yolov2(labels))
    tiny = tiny_yolov2(labels, filters=1024 if len(labels) == 20 else 512)
    return full, TensornetsNetwork("TinyYOLOv2VOC", "REFtinyyolov2voc", "", tiny)


def _common_layers(first: Network, second: Network) -> int:
    """Return the number of equal layers at the beginning of both."""
    differ = [one != other for one, other in zip(first, second, strict=False)]
    return differ.index(True) if True in differ else len(differ)


def read_tensornets(path: Path, spec: ModelSpec, *, name: str | None = None) -> Model:
    """Read a model from an .npz file of tensornets.

    Args:
        path: The file. It contains the arrays in tensornets' order. If the spec is a backbone, a classifier at the end is ignored.
        spec: What the file contains, for example `catalogue.spec_of(entry)`.
        name: The model's name. By default that of the file.

    Returns:
        The model.

    Raises:
        NetworkError: tensornets has no such network.
        ModelFileError: The file is damaged or contains another network.
    """
    names = list(tensornets_network(spec).variables)
    shapes = array_shapes(spec.network)
    values = read_npz(path)
    if len(values) == len(names) + 2 and not spec.is_detector:
        values = values[:-2]
    if len(values) != len(names):
        raise ModelFileError(f"{path}: it contains {len(values)} arrays, but the network has {len(names)}. It belongs to another network.")
    for number, (array, value) in enumerate(zip(names, values, strict=True), start=1):
        if value.shape != shapes[array]:
            raise ModelFileError(f"{path}: array {number}, {array!r}, has shape {value.shape}, but the network needs {shapes[array]}.")
        if not np.isfinite(value).all() or (array.endswith("/variance") and value.min() < 0):
            raise ModelFileError(f"{path}: array {number}, {array!r}, contains NaN, infinity or a negative variance. The file is damaged.")
    return Model(name or path.stem, spec, dict(zip(names, values, strict=True)), {"format": "tensornets", "weights": path.name})
