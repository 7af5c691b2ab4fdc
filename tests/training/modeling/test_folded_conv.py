import numpy as np
import pytest
import tensorflow as tf

from detector.network.keras_model import build_keras
from detector.network.layers import Conv
from detector.network.spec import Model, ModelSpec
from training.config.options import Config
from training.modeling.layers.batch_norm import FusedBatchNorm
from training.modeling.layers.folded_conv import depthwise
from training.modeling.transfer import InitialModel
from training.run.trainer import Trainer

LAYERS = (
    Conv("a", 6, stride=2),
    Conv("b", 6, groups=6, size=5, stride=2),
    Conv("c", 6, groups=6, activation="relu6"),
    Conv("d", 4, size=1),
)


@pytest.fixture
def model(random_arrays):
    return Model("layers", ModelSpec((), (), LAYERS, 64), random_arrays(LAYERS, 3))


def trainer(model, frozen=frozenset(), **settings):
    return Trainer(InitialModel(model, frozenset()), Config(**settings), frozen)


def outputs_and_gradients(network, images, weights, variables, *, training):
    """Return the outputs and the gradients of the variables."""
    with tf.GradientTape() as tape:
        outputs = network(images, training=training)
        total = tf.reduce_sum(weights * outputs)
    return outputs, tape.gradient(total, [variable.value for variable in variables])


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_equal_those_of_keras_layers(model, batch_norm, training):
    ours = trainer(model, batch_norm=batch_norm).network
    theirs = build_keras(model)
    for layer in theirs.layers:
        layer.trainable = ours.get_layer(layer.name).trainable if ours.get_layer(layer.name).weights else True
    assert len(ours.trainable_variables) == (4 if batch_norm == "frozen" else 12)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0, 255, (3, 64, 64, 3)), tf.float32)
    weights = tf.constant(rng.standard_normal((3, 16, 16, 4)), tf.float32)
    first, second = (
        outputs_and_gradients(network, images, weights, network.trainable_variables, training=training) for network in (ours, theirs)
    )
    np.testing.assert_allclose(first[0], second[0], rtol=1e-4, atol=1e-4 * np.abs(second[0]).max())
    for actual, expected in zip(first[1], second[1], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_only_a_frozen_batch_norm_is_folded_into_the_kernel(model):
    trained = trainer(model, frozenset({"a"}), batch_norm="train")
    scales = {layer.name: trained.network.get_layer(layer.name).kernel_scale() for layer in LAYERS}
    assert [name for name, scale in scales.items() if scale is not None] == ["a"]
    expected = model.arrays["a/gamma"] / np.sqrt(model.arrays["a/variance"] + LAYERS[0].epsilon)
    np.testing.assert_allclose(scales["a"], expected, rtol=1e-6)
    trained.freeze(frozenset())
    assert trained.network.get_layer("a").kernel_scale() is None


def test_keras_does_not_track_the_batch_norm_as_part_of_the_convolution(model):
    network = trainer(model).network
    assert [weight.name for weight in network.get_layer("a").weights] == ["kernel"]
    assert isinstance(network.get_layer("a_bn"), FusedBatchNorm)


def test_depthwise_layers_and_the_last_layer_compute_in_float32_at_bfloat16(model):
    network = trainer(model, precision="bfloat16").network
    types = {layer.name: layer.compute_dtype for layer in network.layers}
    float32 = {"b", "b_bn", "b_leaky", "c", "c_bn", "c_relu6", "d"}
    assert {name for name in types if types[name] == "float32"} == float32 & set(types)
    assert {types[name] for name in ("a", "a_bn", "a_leaky")} == {"bfloat16"}


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, "same"), (4, 1, "same"), (5, 1, "valid"), (3, 2, "valid"), (5, 2, "valid")])
def test_depthwise_gradients_equal_those_of_tensorflow(size, stride, padding):
    rng = np.random.default_rng(size)
    images, kernel = (tf.constant(rng.standard_normal(shape), tf.float32) for shape in ((2, 11, 12, 3), (size, size, 3, 1)))
    results = []
    for convolution in (depthwise, lambda x, k, s, p: tf.nn.depthwise_conv2d(x, k, [1, s, s, 1], p.upper())):
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            outputs = convolution(images, kernel, stride, padding)
            total = tf.reduce_sum(tf.sin(outputs))
        results.append([outputs, *tape.gradient(total, [images, kernel])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
