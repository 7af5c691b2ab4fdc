"""tensornets' networks and weights: its names <-> ours, its .npz <-> our model. Needs no TensorFlow.

Layer by layer its graphs are ours (its layers.py, `darkconv`; darknets.py; references/yolos.py): batch norm with epsilon 1e-5 and with
its shift in a bias of its own, "SAME" padding, a reorg that is space-to-depth, a last pool of stride 1 in the tiny network.

The weights want red, green, blue: tensornets' `preprocess` turns what OpenCV reads (datasets/voc.py, where its published 73.2 mAP comes
from). Its `load_img` has turned the colours once already, so in its README's example the network sees blue, green, red. Ours sees what
the weights want (docs/decisions/0006).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from detector.errors import ModelFileError, NetworkError
from detector.network import Conv, Network, darknet19, tiny_yolov2, yolov2
from detector.shapes import array_shapes
from detector.spec import Model, ModelSpec
from weights.formats.tensornets.npz import read_npz, write_npz

_PARTS = {  # in the order of its variables
    "kernel": "conv/weights",
    "gamma": "bn/gamma",
    "mean": "bn/moving_mean",
    "variance": "bn/moving_variance",
    "beta": "bias/biases",
    "bias": "conv/biases",
}


@dataclass(frozen=True)
class Kind:
    """One of tensornets' networks."""

    function: Literal["YOLOv2", "YOLOv2COCO", "TinyYOLOv2VOC", "Darknet19"]
    scope: str  # of its variables
    stem_scope: str  # within that, of its stem's
    network: Network

    @property
    def variables(self) -> dict[str, str]:
        """Our array -> its variable, in its order: "conv5_3/kernel" -> "genYOLOv2/stem/conv5/3/conv/weights:0"."""
        ours = array_shapes(self.network)
        convolutions = [layer.name for layer in self.network if isinstance(layer, Conv)]
        return {
            f"{layer}/{part}": f"{self.scope}/{self._place(layer)}/{its}:0"
            for layer in convolutions
            for part, its in _PARTS.items()
            if f"{layer}/{part}" in ours
        }

    def _place(self, layer: str) -> str:
        if self.function == "TinyYOLOv2VOC" or layer not in _STEM:
            return layer
        stage, _, index = layer.partition("_")
        return f"{self.stem_scope}{stage}/{index or 1}"


_STEM = frozenset(layer.name for layer in darknet19().layers)


def kind_of(spec: ModelSpec) -> Kind:
    """Which of tensornets' networks the spec describes. Raises NetworkError, naming the first layer that differs, if it is none.

    It has YOLOv2 on Darknet19 and Tiny YOLOv2, with five anchors for any number of labels, and the Darknet19 stem. The tiny head is 1024
    filters wide for 20 labels and 512 for any other number.
    """
    kinds = _kinds(spec.labels) if spec.is_detector else (Kind("Darknet19", "darknet19", "", darknet19().layers),)
    for kind in kinds:
        if kind.network == spec.network:
            return kind
    nearest = max(kinds, key=lambda kind: _same(kind.network, spec.network))
    place = _same(nearest.network, spec.network)
    ours, its = ([*network, "nothing"][place] for network in (spec.network, nearest.network))
    raise NetworkError(
        f"tensornets has no such network: {ours} where its {nearest.function} has {its}. "
        "It computes its own YOLOv2, Tiny YOLOv2 and Darknet19; choose another engine or format."
    )


def _kinds(labels: tuple[str, ...]) -> tuple[Kind, ...]:
    full = Kind("YOLOv2", "genYOLOv2", "stem/", yolov2(labels))
    if len(labels) == 80:  # only this function of tensornets' knows the weights for them
        full = Kind("YOLOv2COCO", "REFyolov2coco", "", yolov2(labels))
    tiny = tiny_yolov2(labels, filters=1024 if len(labels) == 20 else 512)
    return full, Kind("TinyYOLOv2VOC", "REFtinyyolov2voc", "", tiny)


def _same(first: Network, second: Network) -> int:
    """How many layers they have in common, from the first on."""
    differ = [one != other for one, other in zip(first, second, strict=False)]
    return differ.index(True) if True in differ else len(differ)


def read_tensornets(path: Path, spec: ModelSpec, *, name: str | None = None) -> Model:
    """The model in one of tensornets' .npz files, which has the arrays of that spec in tensornets' order.

    spec: `catalogue.spec_of` an entry, for instance. For the stem the file may end with a classifier, which is left out.
    name: the file's if not given. Raises NetworkError where tensornets has no such network; ModelFileError where the file is not sound
    or holds another network.
    """
    wanted = list(kind_of(spec).variables)
    shapes = array_shapes(spec.network)
    values = read_npz(path)
    if len(values) == len(wanted) + 2 and not spec.is_detector:
        values = values[:-2]
    if len(values) != len(wanted):
        raise ModelFileError(f"{path}: it holds {len(values)} arrays, the network needs {len(wanted)}; it is of another network.")
    for number, (array, value) in enumerate(zip(wanted, values, strict=True), start=1):
        if value.shape != shapes[array]:
            raise ModelFileError(f"{path}: array {number}, {array!r}, has shape {value.shape}, the network needs {shapes[array]}.")
        if not np.isfinite(value).all() or (array.endswith("/variance") and value.min() < 0):
            raise ModelFileError(f"{path}: array {number}, {array!r}, holds NaN, infinity or a variance below 0: it is damaged.")
    return Model(name or path.stem, spec, dict(zip(wanted, values, strict=True)), {"format": "tensornets", "weights": path.name})


def write_tensornets(model: Model, path: Path) -> None:
    """Writes the model's arrays as tensornets' `save` does; `read_tensornets` reads them back, and tensornets' `load` loads them.

    Raises NetworkError where tensornets has no such network, OSError where the disk refuses.
    """
    write_npz(path, {its: model.arrays[ours] for ours, its in kind_of(model.spec).variables.items()})
