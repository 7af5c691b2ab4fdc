"""Networks that the benchmarks measure. The files for all contenders are written once.

The official weight files are large and not always available. Speed does not depend on the weights, so YOLOv2 and Tiny YOLOv2 have
seeded random weights of the official shapes. `everyday` is the embedded model.
"""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.paths import ROOT
from detector.boxes.placement import Pixels, Placement
from detector.imaging.image import read_image
from detector.network.architectures import tiny_yolov2, yolov2
from detector.network.layers import Network, Reorg
from detector.network.shapes import Arrays, array_shapes
from detector.network.spec import Model, ModelSpec
from weights.embedded import EVERYDAY, EVERYDAY_INT8, SAMPLE_IMAGE
from weights.formats.darknet.lowering import lower_to_darknet
from weights.formats.darknet.weights import write_darknet
from weights.formats.export import EXPORTERS
from weights.formats.safetensors import load_model, save_model
from weights.quantization.quantize import quantize_model

FOLDER = ROOT / "runs" / "bench"
NETWORKS = ("yolov2-voc", "tiny-yolov2-voc", "everyday")
MODEL, INT8, ONNX, CFG, WEIGHTS = "model.safetensors", "int8.safetensors", "model.onnx", "model.cfg", "model.weights"
INT8_ONNX, TFLITE, TFLITE_INT8, NCNN_PARAM, NCNN_BIN = "int8.onnx", "model.tflite", "int8.tflite", "model.ncnn.param", "model.ncnn.bin"
RIVALS_ENVIRONMENT = ROOT / ".venv-rivals"
CALIBRATION = "BENCH_CALIBRATION"
"""Environment variable with a folder of images, on which TensorFlow's converter quantizes."""
MAX_CALIBRATION_IMAGES = 256
OBJECTNESS_OFFSET = 10.0
"""Subtracted from the objectness logits. Otherwise random weights detect objects everywhere, and post-processing takes most of the time."""
_RANGES = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "mean": (-0.2, 0.2), "variance": (0.5, 1.5), "bias": (-0.2, 0.2)}


def prepare_network(name: str) -> Path:
    """Return the folder with the network's files. Create it if necessary."""
    folder = FOLDER / name
    if not (folder / MODEL).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        model = load_model(EVERYDAY) if name == "everyday" else _seeded(name)
        EXPORTERS["onnx"].write(model, folder / ONNX)
        write_darknet(lower_to_darknet(model), folder / CFG, folder / WEIGHTS)
        # The embedded model has its own 8-bit version. For random weights a few images suffice, as only their speed is measured.
        quantized = load_model(EVERYDAY_INT8) if name == "everyday" else quantize_model(model, list(sample_images(model.spec, 4))).model
        save_model(quantized, folder / INT8)
        EXPORTERS["onnx"].write(quantized, folder / INT8_ONNX)
        write_tflite(model, folder)
        write_ncnn(model, folder)
        save_model(model, folder / MODEL)  # written last, so that it marks a complete folder
    return folder


def write_tflite(model: Model, folder: Path) -> None:
    """Write TFLITE and TFLITE_INT8 for a batch size of one. TFLITE_INT8 is calibrated on `rival_calibration_images`."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from detector.network.keras_model import build_keras

    network, side = build_keras(model), model.spec.input_size
    signature = tf.TensorSpec((1, side, side, 3), tf.float32)
    called = tf.function(lambda images: network(images, training=False)).get_concrete_function(signature)
    frozen = convert_variables_to_constants_v2(called)
    for name in (TFLITE, TFLITE_INT8):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if name == TFLITE_INT8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in rival_calibration_images(model.spec))
        (folder / name).write_bytes(converter.convert())


def rival_calibration_images(spec: ModelSpec) -> Pixels:
    """Return the images on which other libraries quantize: those in the folder CALIBRATION if it is set, else the sample image."""
    folder = os.environ.get(CALIBRATION)
    if folder is None:
        return sample_images(spec, 4)
    paths = sorted(Path(folder).glob("*.jpg")) + sorted(Path(folder).glob("*.webp"))
    step = max(1, len(paths) // MAX_CALIBRATION_IMAGES)
    images = [read_image(path.read_bytes()) for path in paths[::step][:MAX_CALIBRATION_IMAGES]]
    return np.stack([Placement.fit(spec, image).apply(image) for image in images])


def write_ncnn(model: Model, folder: Path) -> None:
    """Write the files of ncnn's converter, if it is installed.

    ncnn has no tensors with six axes, so the passthrough has the order space-to-depth. Its speed is the same. The converter writes the
    wrong order for that layer (`Reorg`), which is corrected here.
    """
    converter = next(RIVALS_ENVIRONMENT.glob("lib/python*/site-packages/pnnx/pnnx"), None)  # bin/pnnx would import torch
    if converter is None:
        return
    layers = tuple(replace(layer, order="space-to-depth") if isinstance(layer, Reorg) else layer for layer in model.spec.network)
    with TemporaryDirectory() as temporary:
        source = Path(temporary) / "model.onnx"
        EXPORTERS["onnx"].write(replace(model, spec=replace(model.spec, network=layers)), source)
        side = model.spec.input_size
        command = [str(converter), str(source), f"inputshape=[1,{side},{side},3]", "fp16=0"]
        subprocess.run(command, cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        lines = source.with_suffix(".ncnn.param").read_text(encoding="ascii").splitlines()
        fixed = [line.replace(" 1=0", " 1=1") if line.startswith("Reorg ") else line for line in lines]
        (folder / NCNN_PARAM).write_text("\n".join(fixed) + "\n", encoding="ascii")
        shutil.copy(source.with_suffix(".ncnn.bin"), folder / NCNN_BIN)


def sample_images(spec: ModelSpec, count: int) -> Pixels:
    """Return shifted copies of the sample image: (count, S, S, 3) float32 in 0..255."""
    image = read_image(SAMPLE_IMAGE.read_bytes())
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
