"""The original tensornets graph of a model, in a separate TensorFlow graph and session."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import MissingExtra, ModelFileError
from detector.network.shapes import Array, Arrays, check_arrays
from detector.network.spec import Model, ModelSpec
from weights.formats.tensornets.compat import FetchFile, fetch_from_catalogue, fetching_with, import_tensornets, suppress_known_warnings
from weights.formats.tensornets.mapping import TensornetsNetwork, tensornets_network


@dataclass(frozen=True, eq=False)
class TensornetsGraph:
    """`nets.YOLOv2(images, nets.Darknet19)`, or another network of tensornets. Assign arrays before running it."""

    spec: ModelSpec
    session: Any
    images: Any  # placeholder (N, S, S, 3) for scaled pixels
    output: Any  # tensor (N, G, G, A * (5 + C)) with tensornets' methods, such as `get_boxes` and `preprocess`
    variables: dict[str, Any]  # by our array names

    @classmethod
    def build(cls, spec: ModelSpec) -> "TensornetsGraph":
        """Build the graph of a spec. Raises NetworkError if tensornets has no such network, MissingExtra if it is not installed."""
        network = tensornets_network(spec)
        nets = import_tensornets()
        from tensorflow.compat import v1 as tf

        with suppress_known_warnings(), tf.Graph().as_default() as graph:
            tf.set_random_seed(0)  # required if fine-tuning in this process has made TensorFlow deterministic
            images = tf.placeholder(tf.float32, (None, spec.input_size, spec.input_size, 3), "images")
            output = _output(nets, network, images, len(spec.labels))
            variables = _match_variables(network, {variable.name: variable for variable in tf.global_variables()})
        return cls(spec, tf.Session(graph=graph), images, output, variables)

    def assign(self, arrays: Arrays) -> None:
        """Assign an array to every variable. Raises ArraysError if they do not fit the network."""
        check_arrays(self.spec.network, arrays)
        initializers = [variable.initializer for variable in self.variables.values()]
        values = {variable.initializer.inputs[1]: arrays[name] for name, variable in self.variables.items()}
        self.session.run(initializers, values)

    def read_back(self) -> Arrays:
        """Return the arrays of all variables by our names."""
        arrays: Arrays = self.session.run(self.variables)
        return arrays

    def pretrained(self, fetch_file: FetchFile = fetch_from_catalogue) -> None:
        """Load pretrained weights with the original `session.run(model.pretrained())`.

        As in tensornets, a YOLOv2 for other classes gets the weights of the VOC model, except random numbers in its last layer.

        Args:
            fetch_file: Provides the file that tensornets requests. By default it comes from our catalogue.

        Raises:
            ModelFileError: The file does not contain this network.
        """
        with suppress_known_warnings(), warnings.catch_warnings(), fetching_with(fetch_file), self.session.graph.as_default():
            if not self.spec.is_detector:  # darknet19.npz contains a classifier too
                warnings.filterwarnings("ignore", "The sizes of symbolic and actual weights do not match", UserWarning)
            try:
                self.session.run(self.output.pretrained())
            except (ValueError, LookupError) as error:
                raise ModelFileError(f"tensornets cannot use the file that it requested: {error}.") from error

    def model(self, name: str) -> Model:
        """Return the graph's arrays as a model."""
        return Model(name, self.spec, self.read_back(), {"format": "tensornets", "scope": tensornets_network(self.spec).scope})

    def run(self, images: NDArray[np.float32]) -> Array:
        """Run the network: (N, S, S, 3) float32 RGB, 0..255 -> (N, G, G, A * (5 + C)) float32."""
        scaled = images * np.float32(self.spec.pixel_scale) + np.float32(self.spec.pixel_offset)
        result: Array = self.session.run(self.output, {self.images: scaled})
        return result


def _output(nets: Any, network: TensornetsNetwork, images: Any, classes: int) -> Any:
    match network.function:
        case "YOLOv2":
            return nets.YOLOv2(images, nets.Darknet19, classes=classes)
        case "YOLOv2COCO":
            return nets.YOLOv2COCO(images)
        case "TinyYOLOv2VOC":
            return nets.TinyYOLOv2VOC(images, classes=classes)
        case "Darknet19":
            return nets.Darknet19(images, stem=True)


def _match_variables(network: TensornetsNetwork, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the graph's variables by our names. They must correspond one to one."""
    expected = network.variables
    if set(variables) != set(expected.values()):
        different = sorted(set(variables) ^ set(expected.values()))
        raise MissingExtra(
            f"tensornets 0.4.6 is required, but the installed version has other variables ({different[0]}). Install the extra 'train'."
        )
    return {ours: variables[theirs] for ours, theirs in expected.items()}
