"""Initial weights for other labels, anchors and heads."""

from dataclasses import replace

import numpy as np
import pytest

from detector.boxes.grid import decode
from detector.detector import Detector
from detector.engines import load_engine
from detector.network.architectures import darknet19, efficientnet_lite0, tiny_yolov2, yolov2
from detector.network.layers import Conv
from training.config.options import Config
from training.errors import ConfigError
from training.modeling.transfer import backbone_layers, frozen_layers, initializer, transfer


def images(size=64, count=2):
    return np.random.default_rng(5).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def outputs(model):
    return load_engine(model)(images())


def test_shared_classes_boxes_and_objectness_keep_their_outputs(small_model):
    start = transfer(small_model, ("blue", "red"), small_model.spec.anchors, Config())
    before, after = outputs(small_model), outputs(start.model)
    np.testing.assert_allclose(after[..., 0:5], before[..., 0:5], atol=1e-5)
    np.testing.assert_allclose(after[..., 6], before[..., 5], atol=1e-5)  # red
    assert np.abs(after[..., 5]).max() > 0
    assert start.model.spec.labels == ("blue", "red")
    assert start.reinitialised == {"linear"}


def test_with_the_same_labels_no_layer_is_reinitialised(small_model):
    start = transfer(small_model, small_model.spec.labels, small_model.spec.anchors, Config())
    assert start.reinitialised == frozenset()
    for name, array in small_model.arrays.items():
        np.testing.assert_array_equal(start.model.arrays[name], array)


def test_boxes_stay_the_same_when_anchors_change(small_model):
    anchors = ((1.1, 1.0), (2.2, 2.0))
    transferred = transfer(small_model, small_model.spec.labels, anchors, Config()).model
    before, after = (decode(outputs(model)[0], model.spec.anchors, 16)[0] for model in (small_model, transferred))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-2)


def test_new_anchors_copy_the_most_similar_one(small_model):
    anchors = ((1.0, 1.2), (2.0, 2.5), (2.1, 2.4))
    transferred = transfer(small_model, small_model.spec.labels, anchors, Config()).model
    before, after = outputs(small_model), outputs(transferred)
    np.testing.assert_allclose(after[..., :2, :], before, atol=1e-5)
    np.testing.assert_allclose(after[..., 2, 4:], before[..., 1, 4:], atol=1e-5)


def test_batch_norm_off_is_folded_into_kernel_and_bias(small_model):
    start = transfer(small_model, small_model.spec.labels, small_model.spec.anchors, Config(batch_norm="off"))
    assert not any(layer.normalize for layer in start.model.spec.network if isinstance(layer, Conv))
    np.testing.assert_allclose(outputs(start.model), outputs(small_model), atol=1e-4)


def test_a_new_head_has_the_chosen_activation_and_keeps_the_backbone(small_model):
    config = Config(new_layers="head", activation="elu")
    start = transfer(small_model, ("blue",), small_model.spec.anchors, config)
    activations = {layer.name: layer.activation for layer in start.model.spec.network if isinstance(layer, Conv)}
    assert activations == {"conv1": "leaky", "conv2": "leaky", "conv3": "leaky", "conv4": "relu", "conv5": "leaky"} | dict.fromkeys(
        ("conv6", "conv7", "conv4a", "conv8"), "elu"
    ) | {"linear": "linear"}
    assert start.reinitialised == {"conv6", "conv7", "conv4a", "conv8", "linear"}
    np.testing.assert_array_equal(start.model.arrays["conv5/kernel"], small_model.arrays["conv5/kernel"])
    assert (start.model.arrays["conv6/gamma"] == 1).all()
    Detector(start.model.spec, load_engine(start.model)).detect(np.zeros((9, 7, 3), np.uint8))


@pytest.mark.parametrize(
    ("settings", "variance"),
    [
        ({"init": "he"}, 2 / 900),
        ({"init": "lecun"}, 1 / 900),
        ({"init": "glorot"}, 2 / (900 + 1800)),
        ({"init": "he", "init_mode": "fan_avg"}, 2 / 1350),
        ({"init": "glorot", "init_mode": "fan_in"}, 1 / 900),
    ],
)
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_new_kernels_have_the_variance_of_their_initialiser(settings, variance, distribution):
    kernel = np.asarray(initializer(Config(**settings, init_distribution=distribution), 3)((3, 3, 100, 200)))
    assert kernel.var() == pytest.approx(variance, rel=0.03)
    assert kernel.mean() == pytest.approx(0, abs=1e-3)
    if distribution == "uniform":
        assert np.abs(kernel).max() <= np.sqrt(3 * variance)


@pytest.mark.parametrize(
    ("network", "last"),
    [
        (yolov2(("a",), backbone=efficientnet_lite0()), "block16_project"),
        (yolov2(("a",), backbone=darknet19()), "conv6_5"),
        (tiny_yolov2(("a",)), "conv7"),
    ],
)
def test_the_last_backbone_layer_precedes_the_head(network, last):
    assert backbone_layers(network)[-1] == last


def test_each_value_of_freeze_selects_its_layers(small_model):
    network = small_model.spec.network
    assert frozen_layers(network, "none") == frozenset()
    assert frozen_layers(network, "backbone") >= {"conv1", "conv5"}
    assert not frozen_layers(network, "backbone") & {"conv6", "conv4a", "linear"}
    assert frozen_layers(network, "conv2") == {"conv1", "pool1", "conv2"}
    assert frozen_layers(network, "all-but-head") == {layer.name for layer in network} - {"linear"}
    with pytest.raises(ConfigError, match=r"no layer 'conv99'\. Possible values: none, backbone, all-but-head, conv1, "):
        frozen_layers(network, "conv99")


def test_a_backbone_without_a_head_is_refused(small_model, random_arrays):
    network = small_model.spec.network[:4]
    stem = replace(small_model, spec=replace(small_model.spec, labels=(), anchors=(), network=network), arrays=random_arrays(network, 1))
    with pytest.raises(ConfigError, match="the model is a backbone without a head"):
        transfer(stem, ("a",), ((1, 1),), Config())
