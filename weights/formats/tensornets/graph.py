"""tensornets' own graph of a model, in a TensorFlow graph and session of its own."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import MissingExtra, ModelFileError
from detector.shapes import Array, Arrays, check_arrays
from detector.spec import Model, ModelSpec
from weights.formats.tensornets.compat import Fetch, fetched, import_tensornets, quiet, supplied
from weights.formats.tensornets.mapping import Kind, kind_of


@dataclass(frozen=True, eq=False)
class TensornetsGraph:
    """`nets.YOLOv2(images, nets.Darknet19)`, or another of tensornets' networks. Give it arrays before it is run."""

    spec: ModelSpec
    session: Any
    images: Any  # placeholder (N, S, S, 3), scaled
    output: Any  # tensornets' tensor (N, G, G, A * (5 + C)), with `get_boxes`, `preprocess` and the like
    variables: dict[str, Any]  # by our names

    @classmethod
    def build(cls, spec: ModelSpec) -> "TensornetsGraph":
        """The graph for that spec. Raises NetworkError where tensornets has no such network, MissingExtra where it is not installed."""
        kind = kind_of(spec)
        nets = import_tensornets()
        from tensorflow.compat import v1 as tf

        with quiet(), tf.Graph().as_default() as graph:
            tf.set_random_seed(0)  # wanted wherever a fine-tuning in this process has made TensorFlow deterministic
            images = tf.placeholder(tf.float32, (None, spec.input_size, spec.input_size, 3), "images")
            output = _output(nets, kind, images, len(spec.labels))
            variables = _matched(kind, {variable.name: variable for variable in tf.global_variables()})
        return cls(spec, tf.Session(graph=graph), images, output, variables)

    def assign(self, arrays: Arrays) -> None:
        """Give every variable its array. Raises ArraysError where they do not fit the network."""
        check_arrays(self.spec.network, arrays)
        initializers = [variable.initializer for variable in self.variables.values()]
        values = {variable.initializer.inputs[1]: arrays[name] for name, variable in self.variables.items()}
        self.session.run(initializers, values)

    def read_back(self) -> Arrays:
        """The arrays of all variables, by our names."""
        arrays: Arrays = self.session.run(self.variables)
        return arrays

    def pretrained(self, fetch: Fetch = fetched) -> None:
        """tensornets' own `session.run(model.pretrained())`, with the file from `fetch`: the catalogue's, if not given.

        Raises what `fetch` raises, and ModelFileError for a file that does not hold this network. As in tensornets, a YOLOv2 for other
        classes gets the stem and the head of VOC's, and random numbers in its last layer.
        """
        with quiet(), warnings.catch_warnings(), supplied(fetch), self.session.graph.as_default():
            if not self.spec.is_detector:  # darknet19.npz has a classifier as well
                warnings.filterwarnings("ignore", "The sizes of symbolic and actual weights do not match", UserWarning)
            try:
                self.session.run(self.output.pretrained())
            except (ValueError, LookupError) as error:
                raise ModelFileError(f"tensornets cannot use the file that it asked for: {error}.") from error

    def model(self, name: str) -> Model:
        """The graph as a model of ours."""
        return Model(name, self.spec, self.read_back(), {"format": "tensornets", "scope": kind_of(self.spec).scope})

    def run(self, images: NDArray[np.float32]) -> Array:
        """(N, S, S, 3) float32, red, green, blue, 0..255 -> the output (N, G, G, A * (5 + C)) float32."""
        scaled = images * np.float32(self.spec.pixel_scale) + np.float32(self.spec.pixel_offset)
        result: Array = self.session.run(self.output, {self.images: scaled})
        return result


def _output(nets: Any, kind: Kind, images: Any, classes: int) -> Any:
    match kind.function:
        case "YOLOv2":
            return nets.YOLOv2(images, nets.Darknet19, classes=classes)
        case "YOLOv2COCO":
            return nets.YOLOv2COCO(images)
        case "TinyYOLOv2VOC":
            return nets.TinyYOLOv2VOC(images, classes=classes)
        case "Darknet19":
            return nets.Darknet19(images, stem=True)


def _matched(kind: Kind, found: dict[str, Any]) -> dict[str, Any]:
    """Its variables by our names: all of them, and no other."""
    wanted = kind.variables
    if set(found) != set(wanted.values()):
        odd = sorted(set(found) ^ set(wanted.values()))
        raise MissingExtra(f"this tensornets is another than 0.4.6, its variables differ ({odd[0]}): pip install 'boxwright[train]'.")
    return {ours: found[its] for ours, its in wanted.items()}
