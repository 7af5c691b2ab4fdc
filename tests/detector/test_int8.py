"""8 bits against plain integer arithmetic, against float32, and what must not pass."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detector.engines import load_engine
from detector.engines.onnxruntime import OnnxEngine
from detector.errors import ModelError
from detector.network import ACTIVATIONS, Conv, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.onnx.graph import build_onnx
from detector.quantization import Quantization, kernel_steps
from detector.spec import Model, ModelSpec
from weights.quantization.calibration import calibrate
from weights.quantization.quantize import quantize, rounded

numbers = st.floats(-(2.0**100), 2.0**100, width=32)


def images(size, count=1):
    return np.random.default_rng(5).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def of_layers(random_arrays, *layers):
    return Model("layers", ModelSpec((), (), layers, 64), random_arrays(layers, 3))


@given(arrays(np.float32, (3, 3, 2, 5), elements=numbers))
def test_a_kernel_on_its_grid_stays_there(kernel):
    steps, step = kernel_steps(kernel, -1)
    rounded = steps * step
    again, step_again = kernel_steps(rounded, -1)
    np.testing.assert_array_equal(again * step_again, rounded)
    assert (np.abs(rounded - kernel) <= step * 0.505 + 1e-30).all()


def test_a_convolution_is_integer_arithmetic(random_arrays):
    layer = Conv("a", 4, normalize=False, activation="linear")
    model = of_layers(random_arrays, layer)
    arrays = dict(model.arrays)
    x = np.floor(images(64))
    steps, step = kernel_steps(arrays["a/kernel"], -1)
    sums = np.zeros((64, 64, 4), np.int64)
    padded = np.pad(x[0].astype(np.int64), ((1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(3):
            sums += padded[row : row + 64, column : column + 64] @ steps[row, column].astype(np.int64)
    bias_step = step / np.float32(255)  # pixels are scaled to 0..1 by 1 / 255, which is their step
    exact = (sums + np.rint(arrays["a/bias"] / bias_step)) * bias_step
    low, high = float(exact.min()), float(exact.max())
    quantised = replace(model, quantization=Quantization(("a",), {"pixels/scaled": (0, 1), "a": (low, high)}))
    found = load_engine(quantised)(x)[0]
    scale = (high - low) / 255
    assert np.abs(found - exact).max() <= 0.51 * scale
    assert np.abs(np.rint((found - found.min()) / scale) - (found - found.min()) / scale).max() < 1e-2


@pytest.mark.parametrize("gamma", [1e-8, 1e-12, 1e-35, 0])
@pytest.mark.parametrize("gain", [1, 1000])
def test_where_batch_norm_leaves_nothing_of_a_kernel_its_shift_comes_out(gamma, gain, random_arrays):
    model = of_layers(random_arrays, Conv("a", 4, activation="linear"), Conv("b", 3, activation="linear"))
    arrays = dict(model.arrays)
    arrays["a/gamma"] = np.full(4, gain, np.float32)
    arrays["b/gamma"], arrays["b/beta"] = np.full(3, gamma, np.float32), np.array([1, -0.3, 0.7], np.float32)
    model, photos = replace(model, arrays=arrays), images(64)
    quantised = replace(model, quantization=Quantization(("a", "b"), calibrate(model, list(photos)).ranges))
    step = 1.3 / 255
    np.testing.assert_allclose(load_engine(quantised)(photos), load_engine(model)(photos), atol=0.51 * step)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_works_in_8_bits(activation, random_arrays):
    model = of_layers(random_arrays, Conv("a", 8, activation=activation, stride=2), Conv("b", 8, activation=activation), Conv("c", 3))
    quantised = quantize(model, list(images(64, 3)), enough=0)
    assert quantised.left == ()
    assert quantised.decibels > 20


def test_all_kinds_of_layers_work_in_8_bits(random_arrays):
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
    model = of_layers(random_arrays, *layers)
    photos = list(images(64, 3))
    result = quantize(model, photos, enough=0)
    assert result.decibels > 20
    kinds = {node.op_type for node in OnnxGraph.of(result.model).nodes}
    assert {"QLinearConv", "QLinearAdd", "QLinearConcat", "QLinearLeakyRelu"} <= kinds
    assert not {"Conv", "Add", "Concat", "LeakyRelu", "Clip"} & kinds


class OnnxGraph:
    """What onnxruntime really runs."""

    def __init__(self, nodes):
        self.nodes = nodes

    @classmethod
    def of(cls, model):
        import tempfile
        from pathlib import Path

        import onnx
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            options.log_severity_level = 3
            onnxruntime.InferenceSession(build_onnx(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
            return cls(onnx.load(options.optimized_model_filepath).graph.node)


def test_layers_that_suffer_are_left_in_float32(random_arrays):
    model = of_layers(random_arrays, Conv("a", 8, stride=2), Conv("b", 8), Conv("c", 3))
    arrays = dict(model.arrays)
    arrays["b/kernel"] = arrays["b/kernel"].copy()
    arrays["b/kernel"][1, 1, 0] *= 300  # one number so large that all others of its filter are a fraction of a step
    photos = list(images(64, 3))
    spoilt = replace(model, arrays=arrays)
    all_in = quantize(spoilt, photos, enough=0)
    better = quantize(spoilt, photos, enough=all_in.decibels + 1)
    assert better.left
    assert better.decibels >= all_in.decibels + 1
    assert set(better.left) | set(better.model.quantization.layers) == {"a", "b", "c"}


def test_a_model_that_has_no_layer_for_8_bits_is_refused(random_arrays):
    model = of_layers(random_arrays, Conv("a", 8, stride=2), Conv("b", 8), Conv("c", 3))
    with pytest.raises(ModelError, match=r"layers: none of its 3 convolutions can .* even '[abc]', .* [0-9.]+ dB .* 1000 are wanted"):
        quantize(model, list(images(64, 3)), enough=1000)


def test_a_layer_left_in_float32_between_two_in_8_bits_is_left_alone(random_arrays):
    model = of_layers(random_arrays, Conv("a", 8, stride=2, activation="relu"), Conv("b", 8, activation="relu"), Conv("c", 3))
    arrays = {name: array.copy() for name, array in model.arrays.items()}
    for part in ("kernel", "beta", "mean"):
        arrays[f"a/{part}"][..., 0] = 0  # a channel that is always 0
    arrays["b/kernel"][:, :, 0] = 1000  # is multiplied by numbers beside which all others vanish
    model, photos = replace(model, arrays=arrays), images(64)
    exact, ranges = load_engine(model)(photos), calibrate(model, list(photos)).ranges
    for layers, fine in ((("a", "c"), True), (("a", "b", "c"), False)):
        found = load_engine(replace(model, quantization=Quantization(layers, ranges)))(photos)
        assert (np.square(found - exact).sum() < 1e-2 * np.square(exact).sum()) == fine


def test_rounding_shifts_no_sums_on_the_average(random_arrays):
    layers = (Conv("a", 12, groups=3), Conv("b", 6, size=1, groups=2), Conv("c", 3, size=1, normalize=False, activation="linear"))
    model = of_layers(random_arrays, *layers)
    constant = np.full((1, 64, 64, 3), 100, np.float32)
    seen = calibrate(model, list(constant))
    quantised = rounded(replace(model, quantization=Quantization(("c",), seen.ranges)), seen.means)
    one, other = (load_engine(replace(each, quantization=None))(constant).mean(axis=(1, 2)) for each in (model, quantised))
    shifted = load_engine(replace(rounded(replace(model, quantization=quantised.quantization)), quantization=None))(constant)
    assert np.abs(other - one).max() < 0.01 * np.abs(shifted.mean(axis=(1, 2)) - one).max()


def test_the_other_engine_computes_the_same_kernels_in_float32(random_arrays):
    model = of_layers(random_arrays, Conv("a", 8, stride=2), Conv("b", 8), Conv("c", 3))
    result = quantize(model, list(images(64, 3)), enough=0).model
    one, other = OnnxEngine.of(replace(result, quantization=None))(images(64)), load_engine(result, "tensorflow")(images(64))
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(one).max())


def test_what_cannot_be_is_refused(random_arrays):
    model = of_layers(random_arrays, Conv("a", 4), MaxPool("b"))
    with pytest.raises(ModelError, match="layer 'b' is to be computed in 8 bits, but the network has no such convolution"):
        replace(model, quantization=Quantization(("b",), {}))
    with pytest.raises(ModelError, match="a layer is named twice"):
        replace(model, quantization=Quantization(("a", "a"), {}))
    with pytest.raises(ModelError, match="the range of 'pixels/scaled' is missing"):
        load_engine(replace(model, quantization=Quantization(("a",), {})))
    with pytest.raises(ModelError, match="the range of 'a' must go from a number up to another"):
        Quantization((), {"a": (1.0, float("nan"))})


def test_upsampling_between_convolutions_stays_in_8_bits(random_arrays):
    layers = (Conv("a", 8, stride=2), Upsample("up"), Conv("b", 8), Route("both", ("up", "b")), Conv("c", 4))
    model = of_layers(random_arrays, *layers)
    quantised = quantize(model, list(images(64, 4)), enough=10.0).model
    graph = build_onnx(quantised)
    resized = next(node for node in graph.graph.node if node.op_type == "Resize")
    assert resized.input[0] == "a/dequantised"
    assert any(node.op_type == "QuantizeLinear" and node.input[0] == "up" for node in graph.graph.node)
    exact, found = load_engine(model)(images(64)), load_engine(quantised)(images(64))
    assert np.abs(found - exact).mean() < 0.05 * np.abs(exact).mean()
