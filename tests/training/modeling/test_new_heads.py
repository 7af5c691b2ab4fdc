"""New detection heads on backbones, and networks without pretrained weights."""

from dataclasses import replace

import numpy as np
import pytest

from detector.engines import load_engine
from detector.network.architectures import darknet19
from detector.network.layers import Conv, Route
from detector.network.spec import Model, ModelSpec
from training.config.options import Config
from training.config.task import Task
from training.errors import ConfigError
from training.modeling.new_heads import untrained_backbone, with_head
from training.modeling.transfer import backbone_layers
from training.run.run import Run
from weights.formats.safetensors import load_model

ANCHORS = ((1.0, 1.2), (2.0, 2.5), (3.0, 3.0))


@pytest.fixture
def stem(random_arrays):
    network = darknet19(width=1 / 32).layers
    return Model("stem", ModelSpec((), (), network, input_size=64), random_arrays(network, 1), {"source": "seeded random numbers"})


def test_a_backbone_with_a_new_head_keeps_its_arrays(stem):
    model, head = with_head(stem, ("a", "b"), ANCHORS, Config(head_filters=16))
    assert head == {"conv7", "conv8", "conv5a", "conv9", "linear"}
    assert next(layer for layer in model.spec.network if layer.name == "passthrough") == Route("passthrough", ("conv5_5",))
    for name, array in stem.arrays.items():
        np.testing.assert_array_equal(model.arrays[name], array)
    assert load_engine(model)(np.zeros((1, 64, 64, 3), np.float32)).shape == (1, 2, 2, 3, 7)


def test_a_fine_head_replaces_that_of_a_detector_on_the_same_backbone(stem, rectangles, tmp_path):
    detector, _ = with_head(stem, ("a", "b"), ANCHORS, Config(head_filters=16))
    task = Task(str(rectangles), "train", "val", None)
    settings = {"epochs": 1, "sizes": "64", "batch_size": 3, "head": "fine", "head_filters": 8, "anchor_count": 4}
    run = Run.new(task, Config.of(settings), detector, tmp_path)
    spec = run.trainer.spec
    assert (spec.stride, spec.size_multiple, len(spec.anchors), spec.labels) == (16, 32, 4, ("blue", "red"))
    assert run.trainer.start.reinitialised == {"conv7", "conv5a", "conv8", "conv9", "linear"}
    assert set(backbone_layers(spec.network)) == {layer.name for layer in stem.spec.network} == run.trainer.frozen
    bias = run.trainer.start.model.arrays["linear/bias"].reshape(4, 7)
    np.testing.assert_allclose(1 / (1 + np.exp(-bias[:, 4])), 0.01, rtol=1e-5)
    outcome = run.train()
    best = load_model(outcome.folder / "last.safetensors")
    assert load_engine(best)(np.zeros((1, 96, 96, 3), np.float32)[:, :64, :64]).shape == (1, 4, 4, 4, 7)


def test_an_input_size_must_be_a_multiple_of_the_largest_stride(stem, rectangles, tmp_path):
    task = Task(str(rectangles), "train", "val", None)
    with pytest.raises(ConfigError, match="sizes: 80 is not a multiple of 32, as the network's input size must be"):
        Run.new(task, Config.of({"sizes": "80", "head": "fine"}), stem, tmp_path)


def test_a_backbone_of_one_resolution_has_no_passthrough_layer(random_arrays):
    network = (Conv("conv1", 4),)
    flat = Model("flat", ModelSpec((), (), network, input_size=32), random_arrays(network, 1))
    with pytest.raises(ConfigError, match="flat: the head's passthrough requires a layer with twice as many cells per side"):
        with_head(flat, ("a",), ANCHORS, Config())


def test_an_untrained_backbone_has_the_initialisers_variance():
    arrays = untrained_backbone(Config(network="darknet19", width=0.5, freeze="none")).arrays
    kernel = arrays["conv6_1/kernel"]
    assert kernel.shape == (3, 3, 256, 512)
    assert kernel.var() == pytest.approx(2 / (9 * 256), rel=0.03)  # He et al., arXiv 1502.01852, equation 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "tiny"}, "network tiny is untrained, .* Add --freeze none"),
        ({"width": 0.5}, "width changes an untrained darknet19 only"),
    ],
)
def test_options_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config.of(settings)


def test_runs_can_start_from_a_backbone_or_without_weights(stem, rectangles, tmp_path):
    task = Task(str(rectangles), "train", "val", None)
    settings = {"epochs": 1, "sizes": "64", "batch_size": 3, "head_filters": 8}
    trained = Run.new(task, Config.of(settings), stem, tmp_path)
    assert trained.trainer.frozen >= {"conv1", "conv6_5"}
    assert trained.trainer.start.reinitialised == {"conv7", "conv8", "conv5a", "conv9", "linear"}
    untrained = {"network": "darknet19", "width": 1 / 32, "freeze": "none", "activation": "elu", "batch_norm": "off"}
    run = Run.new(task, Config.of(settings | untrained), replace(stem, name="ignored"), tmp_path)
    convolutions = [layer for layer in run.trainer.spec.network if isinstance(layer, Conv)]
    assert {layer.activation for layer in convolutions[:-1]} == {"elu"}
    assert not any(layer.normalize for layer in convolutions)
    assert run.trainer.start.reinitialised == {layer.name for layer in convolutions}
    outcome = run.train()
    assert (outcome.folder / "best.safetensors").is_file()
