"""The networks that are measured, written once in every contender's own format.

The official weight files are large and not always to be had; a network costs the same whatever its weights are, so YOLOv2 and Tiny
YOLOv2 are given seeded random ones of the true shapes. `everyday` is the model that ships.
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
QUIET = 10.0
"""Taken off the logits of objectness: random weights would find a thing everywhere, and a request would be all suppressing and listing."""
_RANGES = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "mean": (-0.2, 0.2), "variance": (0.5, 1.5), "bias": (-0.2, 0.2)}


def prepared(name: str) -> Path:
    """A folder with that network's files, made if it is not there."""
    folder = FOLDER / name
    if not (folder / MODEL).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        model = load_model(EVERYDAY) if name == "everyday" else _seeded(name)
        EXPORTERS["onnx"].write(model, folder / ONNX)
        write_darknet(lower_to_darknet(model), folder / CFG, folder / WEIGHTS)
        save_model(quantize_model(model, list(photos(model.spec, 4))).model, folder / INT8)  # its time is measured here, not its answers
        save_model(model, folder / MODEL)  # last: where it is, the others are
    return folder


def photos(spec: ModelSpec, count: int) -> Pixels:
    """(count, S, S, 3) float32, 0..255: the sample photo, each time moved by some pixels."""
    picture = read_image(SAMPLE_PHOTO.read_bytes())
    pixels = Placement.fit(spec, picture).apply(picture)
    return np.stack([np.roll(pixels, 16 * index, axis=1) for index in range(count)])


def _seeded(name: str) -> Model:
    labels = tuple(f"class {index}" for index in range(20))
    network = tiny_yolov2(labels) if name.startswith("tiny") else yolov2(labels, order="darknet")
    spec = ModelSpec(labels, ((1.32, 1.73), (3.19, 4.01), (5.06, 8.1), (9.47, 4.84), (11.24, 10.01)), network)
    arrays = seeded_arrays(network)
    arrays["linear/bias"][4 :: 5 + len(labels)] -= QUIET
    return Model(name, spec, arrays, {"source": "seeded random numbers"})


def seeded_arrays(network: Network) -> Arrays:
    """Arrays with which the signal neither dies nor explodes on its way (He)."""
    rng = np.random.default_rng(0)
    arrays = {}
    for array, shape in array_shapes(network).items():
        part = array.rpartition("/")[2]
        if part == "kernel":
            arrays[array] = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        else:
            arrays[array] = rng.uniform(*_RANGES[part], shape).astype(np.float32)
    return arrays
