"""Calibration and kernel rounding on a network with known results."""

from dataclasses import replace

import numpy as np
import pytest

from detector.errors import SettingError
from detector.network.layers import Conv
from detector.network.quantization import Quantization
from detector.network.spec import Model, ModelSpec
from weights.quantization.calibration import calibrate
from weights.quantization.quantize import quantize_model, round_kernels


@pytest.fixture
def model():
    """A network that adds 0, 1 and 2 to the scaled channels of its input."""
    network = (Conv("a", 3, size=1, normalize=False, activation="linear"), Conv("b", 1, size=1, normalize=False, activation="linear"))
    arrays = {
        "a/kernel": np.eye(3, dtype=np.float32)[None, None],
        "a/bias": np.arange(3, dtype=np.float32),
        "b/kernel": np.array([0.5, 0.25, 0.1], np.float32).reshape(1, 1, 3, 1),
        "b/bias": np.zeros(1, np.float32),
    }
    return Model("known", ModelSpec((), (), network, 8), arrays)


@pytest.fixture
def images():
    return list(np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32))


def test_ranges_extend_from_the_smallest_to_the_largest_value_of_all_images(model, images):
    calibration = calibrate(model, images)
    outputs = np.stack(images) / 255 + np.arange(3)
    np.testing.assert_allclose(calibration.ranges["a"], (outputs.min(), outputs.max()), rtol=1e-5)


def test_means_are_those_of_the_input_of_each_convolution(model, images):
    calibration = calibrate(model, images)
    scaled = np.stack(images) / 255
    np.testing.assert_allclose(calibration.means["a"], scaled.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(calibration.means["b"], (scaled + np.arange(3)).mean(axis=(0, 1, 2)), rtol=1e-4)


def test_each_image_is_reported_once(model, images):
    calls = []
    quantize_model(model, images, min_snr_db=0, on_image=lambda: calls.append(1))
    assert len(calls) == len(images)


def test_calibration_without_images_is_refused(model):
    with pytest.raises(SettingError, match="there are no images for calibration"):
        calibrate(model, [])


def test_rounded_kernels_are_multiples_of_one_step_per_filter_and_the_bias_corrects_the_mean(model):
    quantized = replace(model, quantization=Quantization(("b",), {}))
    rounded = round_kernels(quantized)
    kernel = rounded.arrays["b/kernel"].ravel()
    steps = kernel / (np.abs(kernel).max() / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    mean = np.array([1.0, 2.0, 3.0], np.float32)
    corrected = round_kernels(quantized, {"b": mean})
    exact = model.arrays["b/kernel"].ravel() @ mean
    np.testing.assert_allclose(kernel @ mean + corrected.arrays["b/bias"], exact, rtol=1e-5)
    assert np.array_equal(rounded.arrays["a/kernel"], model.arrays["a/kernel"])
