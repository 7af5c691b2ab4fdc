"""Networks that the benchmarks measure, written once in the format of every contender.

The official weight files are large and not always available. Speed does not depend on the weights, so YOLOv2 and Tiny YOLOv2 have
seeded random weights of the official shapes. `everyday` is the embedded model.
"""

from pathlib import Path

import numpy as np

from detector.imaging.image import read_image
from detector.network import Network, tiny_yolov2, yolov2
from detector.placement import Pixels, Placement
from detector.shapes import Arrays, array_shapes
from detector.spec import Model, ModelSpec
from weights.embedded import EVERYDAY, SAMPLE_PHOTO
from weights.formats.darknet.lowering import lower_to_darknet
from weights.formats.darknet.weights import write_darknet
from weights.formats.export import EXPORTERS
from weights.formats.safetensors import load_model, save_model
from weights.quantization.quantize import quantize_model

FOLDER = Path(__file__).resolve().parents[1] / "runs" / "bench"
NETWORKS = ("yolov2-voc", "tiny-yolov2-voc", "everyday")
MODEL, INT8, ONNX, CFG, WEIGHTS = "model.safetensors", "int8.safetensors", "model.onnx", "model.cfg", "model.weights"
OBJECTNESS_OFFSET = 10.0
"""Subtracted from the objectness logits. Otherwise random weights detect objects everywhere, and post-processing dominates a request."""
_RANGES = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "mean": (-0.2, 0.2), "variance": (0.5, 1.5), "bias": (-0.2, 0.2)}


def prepare_network(name: str) -> Path:
    """Return the folder with the network's files. Create it if necessary."""
    folder = FOLDER / name
    if not (folder / MODEL).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        model = load_model(EVERYDAY) if name == "everyday" else _seeded(name)
        EXPORTERS["onnx"].write(model, folder / ONNX)
        write_darknet(lower_to_darknet(model), folder / CFG, folder / WEIGHTS)
        save_model(
            quantize_model(model, list(photos(model.spec, 4))).model, folder / INT8
        )  # a few photos suffice, as only its speed is measured
        save_model(model, folder / MODEL)  # written last, so that it marks a complete folder
    return folder


def photos(spec: ModelSpec, count: int) -> Pixels:
    """Return shifted copies of the sample photo: (count, S, S, 3) float32 in 0..255."""
    image = read_image(SAMPLE_PHOTO.read_bytes())
    pixels = Placement.fit(spec, image).apply(image)
    return np.stack([np.roll(pixels, 16 * index, axis=1) for index in range(count)])


def _seeded(name: str) -> Model:
    labels = tuple(f"class {index}" for index in range(20))
    network = tiny_yolov2(labels) if name.startswith("tiny") else yolov2(labels, order="darknet")
    spec = ModelSpec(labels, ((1.32, 1.73), (3.19, 4.01), (5.06, 8.1), (9.47, 4.84), (11.24, 10.01)), network)
    arrays = seeded_arrays(network)
    arrays["linear/bias"][4 :: 5 + len(labels)] -= OBJECTNESS_OFFSET
    return Model(name, spec, arrays, {"source": "seeded random numbers"})


def seeded_arrays(network: Network) -> Arrays:
    """Return random arrays with He initialisation, so that activations neither vanish nor explode."""
    rng = np.random.default_rng(0)
    arrays = {}
    for array, shape in array_shapes(network).items():
        part = array.rpartition("/")[2]
        if part == "kernel":
            arrays[array] = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        else:
            arrays[array] = rng.uniform(*_RANGES[part], shape).astype(np.float32)
    return arrays
