"""The layers at which a frozen first part of a network ends."""

import numpy as np
import pytest

from detector.engines.onnxruntime import OnnxFeatureExtractor
from detector.network.architectures import darknet19, efficientnet_lite0, yolov2
from detector.network.keras_model import assign_arrays, build_untrained_keras
from detector.network.layers import Conv, MaxPool, Shortcut
from training.features.split_point import feature_layers
from training.modeling.transfer import frozen_layers

NETWORK = yolov2(("a",), backbone=darknet19(0.1))


@pytest.mark.parametrize(
    ("freeze", "layers"),
    [
        ("none", ()),
        ("conv1", ("pool1",)),  # the last layer before the first trained convolution
        ("conv5_4", ("conv5_4",)),
        ("backbone", ("conv5_5", "conv6_5")),  # the passthrough reads conv5_5
        ("conv7", ("conv5_5", "conv7")),
        ("conv8", ("conv8", "passthrough")),
        ("conv5a", ("concat",)),
        ("all-but-head", ("conv9",)),
        ("linear", ()),  # no layer is trained
    ],
)
def test_each_frozen_part_has_its_feature_layers(freeze, layers):
    assert feature_layers(NETWORK, frozen_layers(NETWORK, freeze)) == layers


def test_the_source_of_a_shortcut_is_a_feature_layer():
    network = (Conv("a", 4), Conv("b", 4), MaxPool("pool", 1, 1), Conv("c", 4), Shortcut("sum", "a"))
    assert feature_layers(network, frozenset(("a", "b"))) == ("a", "pool")


def test_the_frozen_part_ends_at_the_first_trained_convolution():
    network = (Conv("a", 4), Conv("b", 4), Conv("c", 4))
    assert feature_layers(network, frozenset(("a", "c"))) == ("a",)


@pytest.mark.parametrize("freeze", ["conv2", "conv4", "conv6", "passthrough", "concat", "conv8"])
def test_both_parts_in_sequence_equal_the_complete_network(small_model, freeze):
    layers = feature_layers(small_model.spec.network, frozen_layers(small_model.spec.network, freeze))
    complete = build_untrained_keras(small_model.spec)
    assign_arrays(complete, small_model)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    features = OnnxFeatureExtractor.of(small_model, layers)(images)
    assert tuple(features) == layers
    trained_part = build_untrained_keras(small_model.spec, share_weights_with=complete, feature_inputs=layers)
    np.testing.assert_allclose(trained_part(features).numpy(), complete(images).numpy(), atol=1e-4)


def test_a_residual_network_has_several_feature_layers():
    network = yolov2(("a",), backbone=efficientnet_lite0())
    assert feature_layers(network, frozen_layers(network, "backbone")) == ("block11_add", "block16_project")
