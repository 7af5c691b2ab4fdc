"""8-bit inference against integer arithmetic and against float32, and invalid quantizations."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detector.engines import load_engine
from detector.engines.onnxruntime import OnnxEngine
from detector.errors import ModelError
from detector.network.layers import ACTIVATIONS, Conv, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.network.quantization import Quantization, quantize_kernel
from detector.network.spec import Model, ModelSpec
from detector.onnx.graph import build_onnx
from weights.quantization.calibration import calibrate
from weights.quantization.quantize import quantize_model, round_kernels

numbers = st.floats(-(2.0**100), 2.0**100, width=32)


def images(size, count=1):
    return np.random.default_rng(5).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def model_of(random_arrays, *layers):
    return Model("layers", ModelSpec((), (), layers, 64), random_arrays(layers, 3))


@given(arrays(np.float32, (3, 3, 2, 5), elements=numbers))
def test_quantizing_a_kernel_again_does_not_change_it(kernel):
    values, scales = quantize_kernel(kernel, -1)
    rounded = values * scales
    values_again, scales_again = quantize_kernel(rounded, -1)
    np.testing.assert_array_equal(values_again * scales_again, rounded)
    assert (np.abs(rounded - kernel) <= scales * 0.505 + 1e-30).all()


def test_a_quantized_convolution_equals_integer_arithmetic(random_arrays):
    layer = Conv("a", 4, normalize=False, activation="linear")
    model = model_of(random_arrays, layer)
    arrays = dict(model.arrays)
    x = np.floor(images(64))
    kernel, scales = quantize_kernel(arrays["a/kernel"], -1)
    sums = np.zeros((64, 64, 4), np.int64)
    padded = np.pad(x[0].astype(np.int64), ((1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(3):
            sums += padded[row : row + 64, column : column + 64] @ kernel[row, column].astype(np.int64)
    bias_step = scales / np.float32(255)  # the scale of the pixels is 1 / 255
    exact = (sums + np.rint(arrays["a/bias"] / bias_step)) * bias_step
    low, high = float(exact.min()), float(exact.max())
    quantized = replace(model, quantization=Quantization(("a",), {"pixels/scaled": (0, 1), "a": (low, high)}))
    logits = load_engine(quantized)(x)[0]
    scale = (high - low) / 255
    assert np.abs(logits - exact).max() <= 0.51 * scale
    assert np.abs(np.rint((logits - logits.min()) / scale) - (logits - logits.min()) / scale).max() < 1e-2


@pytest.mark.parametrize("gamma", [1e-8, 1e-12, 1e-35, 0])
@pytest.mark.parametrize("gain", [1, 1000])
def test_a_kernel_that_batch_norm_scales_to_zero_leaves_the_shift(gamma, gain, random_arrays):
    model = model_of(random_arrays, Conv("a", 4, activation="linear"), Conv("b", 3, activation="linear"))
    arrays = dict(model.arrays)
    arrays["a/gamma"] = np.full(4, gain, np.float32)
    arrays["b/gamma"], arrays["b/beta"] = np.full(3, gamma, np.float32), np.array([1, -0.3, 0.7], np.float32)
    model, pixels = replace(model, arrays=arrays), images(64)
    quantized = replace(model, quantization=Quantization(("a", "b"), calibrate(model, list(pixels)).ranges))
    step = 1.3 / 255
    np.testing.assert_allclose(load_engine(quantized)(pixels), load_engine(model)(pixels), atol=0.51 * step)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_works_in_8_bits(activation, random_arrays):
    model = model_of(random_arrays, Conv("a", 8, activation=activation, stride=2), Conv("b", 8, activation=activation), Conv("c", 3))
    quantized = quantize_model(model, list(images(64, 3)), min_snr_db=0)
    assert quantized.float_layers == ()
    assert quantized.snr_db > 20


def test_every_layer_type_works_in_8_bits(random_arrays, tmp_path):
    layers = (
        Conv("a", 8, activation="relu6"),
        MaxPool("b"),
        Conv("c", 8, groups=8, activation="relu6"),
        Shortcut("d", "b"),
        MaxPool("e"),
        Conv("f", 8),
        Route("g", ("d",)),
        Reorg("h", order="darknet"),
        Route("i", ("h", "f")),
        Reorg("j"),
        Conv("k", 4, size=1, normalize=False, activation="linear"),
    )
    model = model_of(random_arrays, *layers)
    pixels = list(images(64, 3))
    result = quantize_model(model, pixels, min_snr_db=0)
    assert result.snr_db > 20
    node_types = optimised_node_types(result.model, tmp_path / "optimised.onnx")
    assert {"QLinearConv", "QLinearAdd", "QLinearConcat", "QLinearLeakyRelu"} <= node_types
    assert not {"Conv", "Add", "Concat", "LeakyRelu", "Clip"} & node_types


def optimised_node_types(model, file):
    """Return the types of the nodes after onnxruntime has optimised the graph, which it writes to `file`."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(build_onnx(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(file).graph.node}


def test_layers_with_a_large_quantization_error_stay_in_float32(random_arrays):
    model = model_of(random_arrays, Conv("a", 8, stride=2), Conv("b", 8), Conv("c", 3))
    arrays = dict(model.arrays)
    arrays["b/kernel"] = arrays["b/kernel"].copy()
    arrays["b/kernel"][1, 1, 0] *= 300  # all other values of its filter become smaller than a quantization step
    pixels = list(images(64, 3))
    outlier_model = replace(model, arrays=arrays)
    all_quantized = quantize_model(outlier_model, pixels, min_snr_db=0)
    better = quantize_model(outlier_model, pixels, min_snr_db=all_quantized.snr_db + 1)
    assert better.float_layers
    assert better.snr_db >= all_quantized.snr_db + 1
    assert set(better.float_layers) | set(better.model.quantization.layers) == {"a", "b", "c"}


def test_a_model_without_a_quantizable_layer_is_refused(random_arrays):
    model = model_of(random_arrays, Conv("a", 8, stride=2), Conv("b", 8), Conv("c", 3))
    with pytest.raises(ModelError, match=r"layers: none of its 3 convolutions can .* Even '[abc]', .* [0-9.]+ dB .* 1000 dB are required"):
        quantize_model(model, list(images(64, 3)), min_snr_db=1000)


def test_a_float32_layer_between_two_quantized_layers_is_not_quantized(random_arrays):
    model = model_of(random_arrays, Conv("a", 8, stride=2, activation="relu"), Conv("b", 8, activation="relu"), Conv("c", 3))
    arrays = {name: array.copy() for name, array in model.arrays.items()}
    for part in ("kernel", "beta", "mean"):
        arrays[f"a/{part}"][..., 0] = 0  # a channel that is always 0
    arrays["b/kernel"][:, :, 0] = 1000  # dominates the scale of its filters
    model, pixels = replace(model, arrays=arrays), images(64)
    exact, ranges = load_engine(model)(pixels), calibrate(model, list(pixels)).ranges
    for layers, accurate in ((("a", "c"), True), (("a", "b", "c"), False)):
        logits = load_engine(replace(model, quantization=Quantization(layers, ranges)))(pixels)
        assert (np.square(logits - exact).sum() < 1e-2 * np.square(exact).sum()) == accurate


def test_bias_correction_keeps_the_mean_output(random_arrays):
    layers = (Conv("a", 12, groups=3), Conv("b", 6, size=1, groups=2), Conv("c", 3, size=1, normalize=False, activation="linear"))
    model = model_of(random_arrays, *layers)
    constant = np.full((1, 64, 64, 3), 100, np.float32)
    calibration = calibrate(model, list(constant))
    quantized = round_kernels(replace(model, quantization=Quantization(("c",), calibration.ranges)), calibration.means)
    exact, corrected = (load_engine(replace(each, quantization=None))(constant).mean(axis=(1, 2)) for each in (model, quantized))
    uncorrected = load_engine(replace(round_kernels(replace(model, quantization=quantized.quantization)), quantization=None))(constant)
    assert np.abs(corrected - exact).max() < 0.01 * np.abs(uncorrected.mean(axis=(1, 2)) - exact).max()


def test_tensorflow_computes_the_quantized_kernels_in_float32(random_arrays):
    model = model_of(random_arrays, Conv("a", 8, stride=2), Conv("b", 8), Conv("c", 3))
    result = quantize_model(model, list(images(64, 3)), min_snr_db=0).model
    exact = OnnxEngine.of(replace(result, quantization=None))(images(64))
    np.testing.assert_allclose(exact, load_engine(result, "tensorflow")(images(64)), atol=1e-4 * np.abs(exact).max())


def test_an_invalid_quantization_is_refused(random_arrays):
    model = model_of(random_arrays, Conv("a", 4), MaxPool("b"))
    with pytest.raises(ModelError, match="the quantized layer 'b' is not a convolution of the network"):
        replace(model, quantization=Quantization(("b",), {}))
    with pytest.raises(ModelError, match="names a layer twice"):
        replace(model, quantization=Quantization(("a", "a"), {}))
    with pytest.raises(ModelError, match="the range of 'pixels/scaled' is missing"):
        load_engine(replace(model, quantization=Quantization(("a",), {})))
    with pytest.raises(ModelError, match="the range of 'a' must be two ascending numbers"):
        Quantization((), {"a": (1.0, float("nan"))})


def test_upsampling_between_convolutions_stays_in_8_bits(random_arrays):
    layers = (Conv("a", 8, stride=2), Upsample("up"), Conv("b", 8), Route("both", ("up", "b")), Conv("c", 4))
    model = model_of(random_arrays, *layers)
    quantized = quantize_model(model, list(images(64, 4)), min_snr_db=10.0).model
    graph = build_onnx(quantized)
    resized = next(node for node in graph.graph.node if node.op_type == "Resize")
    assert resized.input[0] == "a/dequantized"
    assert any(node.op_type == "QuantizeLinear" and node.input[0] == "up" for node in graph.graph.node)
    exact, quantized_logits = load_engine(model)(images(64)), load_engine(quantized)(images(64))
    assert np.abs(quantized_logits - exact).mean() < 0.05 * np.abs(exact).mean()
