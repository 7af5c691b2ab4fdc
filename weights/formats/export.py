"""A model in other programs' formats. Each export is opened again and run before it gets its name.

ONNX is run by onnxruntime, .keras by Keras, SavedModel by TensorFlow, TFLite by LiteRT; Darknet's and our own files by our own
readers (Darknet's by OpenCV too, in the tests).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.engines.onnxruntime import OnnxEngine
from detector.errors import MissingExtra
from detector.placement import Pixels
from detector.spec import Model
from weights.errors import ExportError

Target = Literal["darknet", "onnx", "keras", "savedmodel", "tflite", "safetensors"]
Logits = NDArray[np.float32]

IN_8_BITS = ("onnx", "safetensors")
"""Formats that keep a quantised model's 8 bits. The others get its kernels, rounded as they are, and compute in float32."""
TOLERANCE = 1e-3
"""Largest difference of the raw output that passes, relative to its largest value."""


@dataclass(frozen=True)
class Format:
    """How a format is written, and how what was written is read and run."""

    suffix: tuple[str, ...]  # of each file, the one that names the export first; "": a folder
    write: Callable[[Model, Path], None]
    run: Callable[[Path, Logits], Logits]  # (1, S, S, 3) float32, 0..255 -> logits of any shape


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its raw output is from the model's on one photo."""

    paths: tuple[Path, ...]
    difference: float  # the largest
    largest: float  # value in the model's output


def export(model: Model, target: Target, path: Path, *, pixels: Pixels, force: bool = False) -> Exported:
    """Write the model as `target` to `path`, whose suffix is the format's, and compare the raw outputs on `pixels` (S, S, 3), 0..255.

    darknet: `path` is the .cfg; .weights and .names go beside it. savedmodel: `path` is a folder. force: replace files that are there.
    Raises ExportError where the outputs differ by more than TOLERANCE or a path is not fit, MissingExtra where packages are missing,
    NetworkError for what the format cannot say. Nothing is then under the final names that was not before.
    """
    wanted = FORMATS[target]
    _check_places(wanted, path, force=force)
    images = pixels[None]
    if target not in IN_8_BITS:
        model = replace(model, quantization=None)
    ours = OnnxEngine.of(model)(images)
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            theirs = _written_and_run(wanted, model, Path(folder) / path.name, images)
            difference, largest = float(np.abs(theirs.reshape(ours.shape) - ours).max()), float(np.abs(ours).max())
            if not difference <= TOLERANCE * max(1.0, largest):
                raise ExportError(f"{path}: the {target} export differs from the model by {difference:.2g}; it was not kept.")
            paths = tuple(written.rename(path.parent / written.name) for written in sorted(Path(folder).iterdir()))
    except OSError as error:
        raise ExportError(
            f"{path}: it cannot be written: {error.strerror}. Give a path in a folder of yours, on a disk with room."
        ) from error
    return Exported(paths, difference, largest)


def _check_places(wanted: Format, path: Path, *, force: bool) -> None:
    """Before any work is done: is everything that will be written free to be?"""
    if path.suffix != wanted.suffix[0]:
        raise ExportError(f"{path}: such an export is called NAME{wanted.suffix[0] or ', a folder without suffix'}.")
    if not path.parent.is_dir():
        raise ExportError(f"{path}: there is no folder {path.parent}; make it, or give a path in one that is there.")
    for place in (path.with_suffix(suffix) for suffix in wanted.suffix):
        if place.is_dir() or (place.exists() and not (force and wanted.suffix[0])):
            raise ExportError(f"{place} is there already; give another path{', remove it' if place.is_dir() else ', or --force'}.")


def _written_and_run(wanted: Format, model: Model, path: Path, images: Logits) -> Logits:
    try:
        wanted.write(model, path)
        return wanted.run(path, images)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this export needs {error.name}, which is not installed: pip install 'boxwright[train]'.") from error


def _write_onnx(model: Model, path: Path) -> None:
    import onnx

    from detector.onnx.graph import build_onnx

    graph = build_onnx(model)
    facts = {"labels": "\n".join(model.spec.labels), "anchors": ", ".join(f"{w} {h}" for w, h in model.spec.anchors), "fit": model.spec.fit}
    onnx.helper.set_model_props(graph, facts)
    onnx.save(graph, str(path))


def _run_onnx(path: Path, images: Logits) -> Logits:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits: Logits = session.run(None, {session.get_inputs()[0].name: images})[0]
    return logits


def _write_keras(model: Model, path: Path) -> None:
    from detector.keras_model import build_keras

    build_keras(model).save(path)


def _run_keras(path: Path, images: Logits) -> Logits:
    import keras

    return np.asarray(keras.models.load_model(path)(images, training=False))


def _write_savedmodel(model: Model, path: Path) -> None:
    from detector.keras_model import build_keras

    build_keras(model).export(str(path), verbose=False)


def _run_savedmodel(path: Path, images: Logits) -> Logits:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
    return np.asarray(loaded.serve(images))


def _write_tflite(model: Model, path: Path) -> None:
    with TemporaryDirectory() as folder:  # the converter would make such a folder itself, and print what is in it
        saved = Path(folder) / "saved"
        _write_savedmodel(model, saved)
        import tensorflow as tf

        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(saved)).convert())


def _run_tflite(path: Path, images: Logits) -> Logits:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    logits: Logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return logits


def _write_darknet(model: Model, path: Path) -> None:
    from weights.formats.darknet.lowering import lower_to_darknet
    from weights.formats.darknet.weights import write_darknet

    write_darknet(lower_to_darknet(model), path, path.with_suffix(".weights"))
    path.with_suffix(".names").write_text("".join(f"{label}\n" for label in model.spec.labels), encoding="utf-8")


def _run_darknet(path: Path, images: Logits) -> Logits:
    from weights.formats.darknet.weights import read_darknet

    return OnnxEngine.of(read_darknet(path, path.with_suffix(".weights")))(images)


def _write_safetensors(model: Model, path: Path) -> None:
    from weights.formats.safetensors import save_model

    save_model(model, path)


def _run_safetensors(path: Path, images: Logits) -> Logits:
    from weights.formats.safetensors import load_model

    return OnnxEngine.of(load_model(path))(images)


FORMATS: dict[Target, Format] = {
    "darknet": Format((".cfg", ".weights", ".names"), _write_darknet, _run_darknet),
    "onnx": Format((".onnx",), _write_onnx, _run_onnx),
    "keras": Format((".keras",), _write_keras, _run_keras),
    "savedmodel": Format(("",), _write_savedmodel, _run_savedmodel),
    "tflite": Format((".tflite",), _write_tflite, _run_tflite),
    "safetensors": Format((".safetensors",), _write_safetensors, _run_safetensors),
}
