"""Export a model to other formats. Each export is loaded, run and compared with the model before it gets its final name.

onnxruntime runs ONNX, Keras runs .keras, TensorFlow runs SavedModel, and LiteRT runs TFLite. Our own readers read Darknet's files and our
model files; the tests also run Darknet's files in OpenCV.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.boxes.placement import Pixels
from detector.engines.cores import usable_cores
from detector.engines.onnxruntime import OnnxEngine, session_options
from detector.errors import MissingExtra
from detector.network.spec import Model
from weights.errors import ExportError

ExportFormat = Literal["darknet", "onnx", "keras", "savedmodel", "tflite", "safetensors"]
Batch = NDArray[np.float32]

INT8_FORMATS = ("onnx", "safetensors")
"""Formats in which a quantized model computes in 8 bits. In the others it computes in float32 with rounded kernels."""
MAX_RELATIVE_DIFFERENCE = 1e-3  # Largest accepted difference between the raw outputs, relative to the largest absolute output.


@dataclass(frozen=True)
class Exporter:
    """Functions that write a file of one format, and that load and run it."""

    suffix: tuple[str, ...]  # of each file, the one that the user names first; "" for a folder
    write: Callable[[Model, Path], None]
    run: Callable[[Path, Batch], Batch]  # (1, S, S, 3) float32, 0..255 -> logits of any shape


@dataclass(frozen=True)
class ExportResult:
    """The files of an export, and how closely its raw output matches the model's on one image."""

    paths: tuple[Path, ...]
    difference: float  # largest absolute difference
    largest: float  # largest absolute output of the model


def export_model(model: Model, target: ExportFormat, path: Path, *, pixels: Pixels, force: bool = False) -> ExportResult:
    """Export a model and compare the raw outputs on one image. After an error, no file has changed.

    Args:
        model: The model.
        target: The format.
        path: The file to write, with the suffix of the format. For darknet it is the .cfg, and .weights and .names are written next to
            it. For savedmodel it is a folder.
        pixels: The image to compare on, as network input, (S, S, 3), 0..255.
        force: Replace existing files.

    Returns:
        The paths and the difference.

    Raises:
        ExportError: The path is unsuitable, a file cannot be written, or the outputs differ by more than MAX_RELATIVE_DIFFERENCE.
        MissingExtra: Packages for this format are not installed.
        NetworkError: The format cannot express the network.
    """
    exporter = EXPORTERS[target]
    check_export_path(target, path, force=force)
    images = pixels[None]
    if target not in INT8_FORMATS:
        model = replace(model, quantization=None)
    expected = OnnxEngine.of(model)(images)
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            exported = _write_and_run(exporter, model, Path(folder) / path.name, images)
            difference, largest = float(np.abs(exported.reshape(expected.shape) - expected).max()), float(np.abs(expected).max())
            if not difference <= MAX_RELATIVE_DIFFERENCE * max(1.0, largest):
                raise ExportError(
                    f"{path}: the output of the {target} export differs from the model's by {difference:.2g}; it is discarded."
                )
            paths = tuple(written.rename(path.parent / written.name) for written in sorted(Path(folder).iterdir()))
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written: {error.strerror or error}. Choose a folder that you can write, on a disk with free space."
        ) from error
    return ExportResult(paths, difference, largest)


def check_export_path(target: ExportFormat, path: Path, *, force: bool) -> None:
    """Check the path of an export before any work is done. Raises ExportError."""
    exporter = EXPORTERS[target]
    if path.suffix != exporter.suffix[0]:
        raise ExportError(f"{path}: this format requires the name NAME{exporter.suffix[0] or ', a folder without suffix'}.")
    if not path.parent.is_dir():
        raise ExportError(f"{path}: the folder {path.parent} does not exist. Create it, or choose another path.")
    for output in (path.with_suffix(suffix) for suffix in exporter.suffix):
        if output.is_dir() or (output.exists() and not (force and exporter.suffix[0])):
            raise ExportError(f"{output} exists. Choose another path{', or remove it' if output.is_dir() else ', or use --force'}.")


def _write_and_run(exporter: Exporter, model: Model, path: Path, images: Batch) -> Batch:
    try:
        exporter.write(model, path)
        return exporter.run(path, images)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this export needs {error.name}, which is not installed. Install the extra 'train'.") from error


def _write_onnx(model: Model, path: Path) -> None:
    import onnx

    from detector.onnx.graph import build_onnx

    graph = build_onnx(model)
    properties = {
        "labels": "\n".join(model.spec.labels),
        "anchors": ", ".join(f"{w} {h}" for w, h in model.spec.anchors),
        "fit": model.spec.fit,
    }
    onnx.helper.set_model_props(graph, properties)
    onnx.save(graph, str(path))


def _run_onnx(path: Path, images: Batch) -> Batch:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), session_options(usable_cores()), providers=["CPUExecutionProvider"])
    logits: Batch = session.run(None, {session.get_inputs()[0].name: images})[0]
    return logits


def _write_keras(model: Model, path: Path) -> None:
    from detector.network.keras_model import build_keras

    build_keras(model).save(path)


def _run_keras(path: Path, images: Batch) -> Batch:
    import keras

    return np.asarray(keras.models.load_model(path)(images, training=False))


def _write_savedmodel(model: Model, path: Path) -> None:
    import tensorflow as tf

    from detector.network.keras_model import build_keras

    try:
        build_keras(model).export(str(path), verbose=False)
    except tf.errors.OpError as error:  # "FOLDER/FILE; No space left on device [Op:SaveV2]"
        raise OSError(error.message.rpartition("; ")[2].partition(" [")[0]) from error


def _run_savedmodel(path: Path, images: Batch) -> Batch:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # the variables are freed with this object
    return np.asarray(loaded.serve(images))


def _write_tflite(model: Model, path: Path) -> None:
    with TemporaryDirectory() as folder:  # without it, the converter creates a folder and prints its content
        saved = Path(folder) / "saved"
        _write_savedmodel(model, saved)
        import tensorflow as tf

        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(saved)).convert())


def _run_tflite(path: Path, images: Batch) -> Batch:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # because the default delegate prints a line to stderr
    interpreter = Interpreter(str(path), experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    logits: Batch = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return logits


def _write_darknet(model: Model, path: Path) -> None:
    from weights.formats.darknet.lowering import lower_to_darknet
    from weights.formats.darknet.weights import write_darknet

    write_darknet(lower_to_darknet(model), path, path.with_suffix(".weights"))
    path.with_suffix(".names").write_text("".join(f"{label}\n" for label in model.spec.labels), encoding="utf-8")


def _run_darknet(path: Path, images: Batch) -> Batch:
    from weights.formats.darknet.weights import read_darknet

    return OnnxEngine.of(read_darknet(path, path.with_suffix(".weights")))(images)


def _write_safetensors(model: Model, path: Path) -> None:
    from weights.formats.safetensors import save_model

    save_model(model, path)


def _run_safetensors(path: Path, images: Batch) -> Batch:
    from weights.formats.safetensors import load_model

    return OnnxEngine.of(load_model(path))(images)


EXPORTERS: dict[ExportFormat, Exporter] = {
    "darknet": Exporter((".cfg", ".weights", ".names"), _write_darknet, _run_darknet),
    "onnx": Exporter((".onnx",), _write_onnx, _run_onnx),
    "keras": Exporter((".keras",), _write_keras, _run_keras),
    "savedmodel": Exporter(("",), _write_savedmodel, _run_savedmodel),
    "tflite": Exporter((".tflite",), _write_tflite, _run_tflite),
    "safetensors": Exporter((".safetensors",), _write_safetensors, _run_safetensors),
}
