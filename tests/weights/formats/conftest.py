"""Small model files."""

from dataclasses import replace

import numpy as np
import pytest

from detector.network.layers import Conv, MaxPool, Route
from detector.network.quantization import Quantization
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec
from weights.formats.safetensors import save_model
from weights.quantization.quantize import round_kernels


@pytest.fixture
def small_file(tmp_path, small_model):
    path = tmp_path / "small.safetensors"
    save_model(small_model, path)
    return path


@pytest.fixture
def minimal_model():
    network = (Conv("a", 2, size=1), MaxPool("b"), Route("c", ("a",)))
    arrays = {name: np.ones(shape, np.float32) for name, shape in array_shapes(network).items()}
    return Model("tiny", ModelSpec((), (), network, 2), arrays)


@pytest.fixture
def quantized_model(small_model):
    """Every second convolution in 8 bits."""
    layers = [layer.name for layer in small_model.spec.network if isinstance(layer, Conv)][::2]
    ranges = dict.fromkeys(small_model.arrays, (-1.5, 6.0))
    return round_kernels(replace(small_model, quantization=Quantization(tuple(layers), ranges)))
