"""Contenders for preprocessing: from JPEG bytes to the network's input. `benchmarks.contenders.process` runs them in separate processes."""

from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from detector.engines import Engine


def input_size() -> int:
    """Return the side of the output in pixels, which is the input size of `everyday`."""
    from weights.embedded import EVERYDAY
    from weights.formats.safetensors import read_header

    return read_header(EVERYDAY).spec.input_size


def sample_jpeg(width: int, height: int) -> bytes:
    """Return the sample image as a JPEG of that size. Added noise makes decoding as slow as for an image from a camera."""
    from PIL import Image

    from weights.embedded import SAMPLE_IMAGE

    whole = np.asarray(Image.open(SAMPLE_IMAGE).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = np.random.default_rng(0).normal(0, 6, whole.shape).astype(np.int16)
    file = BytesIO()
    Image.fromarray(np.clip(whole + noise, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def boxwright_reader(file: Path) -> Any:
    """Preprocess as the service does."""
    from detector.detector import Detector
    from detector.imaging.image import decode_image
    from weights.embedded import EVERYDAY
    from weights.formats.safetensors import read_header

    data, detector = file.read_bytes(), Detector(read_header(EVERYDAY).spec, cast(Engine, None))  # preprocessing needs no engine
    return lambda: detector.preprocess(decode_image(data, detector.min_decode_side)).pixels


def pillow_reader(file: Path) -> Any:
    """Decode at full size, then resize with Pillow: the usual way in Python services."""
    from PIL import Image

    data, side = file.read_bytes(), input_size()
    return lambda: np.asarray(Image.open(BytesIO(data)).convert("RGB").resize((side, side), Image.Resampling.BILINEAR), np.float32)


def opencv_reader(file: Path) -> Any:
    """Preprocess with imdecode and blobFromImage, as in OpenCV's examples."""
    import cv2

    data, side = np.frombuffer(file.read_bytes(), np.uint8), input_size()
    return lambda: cv2.dnn.blobFromImage(cv2.imdecode(data, cv2.IMREAD_COLOR), 1.0, (side, side), swapRB=True)


def tensorflow_reader(file: Path) -> Any:
    """Preprocess with tf.io.decode_jpeg and an antialiased tf.image.resize."""
    import tensorflow as tf

    data, side = tf.constant(file.read_bytes()), input_size()
    return lambda: tf.image.resize(tf.io.decode_jpeg(data, channels=3), (side, side), antialias=True).numpy()


READERS = {
    "boxwright reader": boxwright_reader,
    "pillow reader": pillow_reader,
    "opencv reader": opencv_reader,
    "tensorflow reader": tensorflow_reader,
}
