import numpy as np
import pytest

from detector.engines.onnxruntime import OnnxFeatureExtractor
from detector.keras_model import assign_arrays, build_untrained_keras
from detector.network import Conv, MaxPool, Shortcut, darknet19, efficientnet_lite0, yolov2
from training.features.split_point import cut_layers
from training.modeling.transfer import frozen_layers

NETWORK = yolov2(("a",), backbone=darknet19(0.1))


@pytest.mark.parametrize(
    ("freeze", "layers"),
    [
        ("none", ()),
        ("conv1", ("pool1",)),  # of what lies between a frozen and a training convolution, the last
        ("conv5_4", ("conv5_4",)),
        ("backbone", ("conv5_5", "conv6_5")),  # the passthrough reads conv5_5
        ("conv7", ("conv5_5", "conv7")),
        ("conv8", ("conv8", "passthrough")),
        ("conv5a", ("concat",)),
        ("all-but-head", ("conv9",)),
        ("linear", ()),  # nothing is left to train
    ],
)
def test_what_upper_layers_read_of_a_frozen_part(freeze, layers):
    assert cut_layers(NETWORK, frozen_layers(NETWORK, freeze)) == layers


def test_a_shortcut_reads_a_frozen_part_too():
    network = (Conv("a", 4), Conv("b", 4), MaxPool("pool", 1, 1), Conv("c", 4), Shortcut("sum", "a"))
    assert cut_layers(network, frozenset(("a", "b"))) == ("a", "pool")


def test_what_is_not_frozen_in_the_middle_ends_the_part():
    network = (Conv("a", 4), Conv("b", 4), Conv("c", 4))
    assert cut_layers(network, frozenset(("a", "c"))) == ("a",)


@pytest.mark.parametrize("freeze", ["conv2", "conv4", "conv6", "passthrough", "concat", "conv8"])
def test_the_two_parts_one_after_the_other_are_the_whole_network(small_model, freeze):
    layers = cut_layers(small_model.spec.network, frozen_layers(small_model.spec.network, freeze))
    whole = build_untrained_keras(small_model.spec)
    assign_arrays(whole, small_model)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    features = OnnxFeatureExtractor.of(small_model, layers)(images)
    assert tuple(features) == layers
    rest = build_untrained_keras(small_model.spec, share_weights_with=whole, feature_inputs=layers)
    np.testing.assert_allclose(rest(features).numpy(), whole(images).numpy(), atol=1e-4)


def test_a_residual_stem_is_cut_as_well():
    network = yolov2(("a",), backbone=efficientnet_lite0())
    assert cut_layers(network, frozen_layers(network, "backbone")) == ("block11_add", "block16_project")
