"""Warnings about layers that do not learn, and about dead units."""

from dataclasses import replace

import numpy as np
import pytest

from detector.network.layers import Conv, MaxPool
from detector.network.spec import Model, ModelSpec
from tests.training.ground_truths import ground_truth_of
from training.config.options import Config
from training.data.targets import dense_targets
from training.modeling.transfer import InitialModel, fresh_arrays
from training.run.layer_monitor import WINDOW, ActivationProbe, DeadUnits, LayerMonitor, dead_unit_warnings
from training.run.trainer import StepResult, Trainer


def monitor_after(gradient, steps=WINDOW, weight=2.0):
    monitor = LayerMonitor()
    for _ in range(steps):
        monitor.observe(StepResult({"box": 1.0}, {"conv3_2": gradient, "fine": 0.01}, {"conv3_2": weight, "fine": 1.0}))
    return monitor


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (4e-8, "conv3_2's gradient has been 2e-08 of its weights for 50 steps: it vanishes"),
        (100.0, "conv3_2's gradient has been 50 times its weights for 50 steps: it explodes"),
    ],
)
def test_vanishing_and_exploding_gradients_give_a_warning(gradient, message):
    (warning,) = monitor_after(gradient).warnings()
    assert warning.startswith(message)
    assert monitor_after(gradient).median_ratios()["conv3_2"] == gradient / 2


def test_healthy_layers_and_incomplete_windows_give_no_warning():
    assert list(monitor_after(0.1).warnings()) == []
    assert list(monitor_after(4e-8, steps=WINDOW - 1).warnings()) == []


def test_a_layer_that_becomes_frozen_is_dropped():
    monitor = monitor_after(4e-8)
    monitor.observe(StepResult({}, {"fine": 0.01}, {"fine": 1.0}))
    assert set(monitor.median_ratios()) == {"fine"}


def test_dead_and_saturated_channels_are_counted(small_model):
    network = tuple(replace(layer, activation="relu6") if layer.name == "conv1" else layer for layer in small_model.spec.network)
    model = replace(small_model, spec=replace(small_model.spec, network=network))
    beta = model.arrays["conv1/beta"].copy()
    beta[:2], beta[2:5] = -1e3, 1e3
    dead = replace(model, arrays=dict(model.arrays) | {"conv1/beta": beta})
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    units = ActivationProbe.of(model.spec).dead_units(dead, images)
    assert set(units) == {"conv1", "conv4"}  # leaky ReLU has no flat region
    assert units["conv1"] == DeadUnits(2 / 8, 3 / 8)


def test_many_dead_or_saturated_channels_give_a_warning_if_training_caused_them():
    before = {"conv4": DeadUnits(0.25, 0.0), "conv5": DeadUnits(0.0, 0.0), "conv6": DeadUnits(0.0, 0.0), "conv7": DeadUnits(0.6, 0.0)}
    after = {"conv4": DeadUnits(0.75, 0.0), "conv5": DeadUnits(0.5, 0.1), "conv6": DeadUnits(0.0, 0.6), "conv7": DeadUnits(0.65, 0.0)}
    assert [sentence.partition(" Try")[0] for sentence in dead_unit_warnings(after, before)] == [
        "75% of conv4's channels are dead; before training 25% were.",
        "60% of conv6's channels are saturated; before training 0% were.",
    ]


def test_a_network_of_leaky_layers_has_no_dead_units(small_model):
    network = tuple(
        replace(layer, activation="leaky") if isinstance(layer, Conv) and layer.name == "conv4" else layer
        for layer in small_model.spec.network
    )
    model = replace(small_model, spec=replace(small_model.spec, network=network))
    assert ActivationProbe.of(model.spec).dead_units(model, np.zeros((1, 64, 64, 3), np.float32)) == {}


PER_IMAGE = {"loss_norm": "images", "object_scale": 5.0, "noobject_scale": 1.0, "coord_scale": 1.0, "backbone_rate": 1.0}
"""A loss large enough for the learning rates of these tests."""


def warnings_of_training(*, depth, activation, rate, normalize=False, **settings):
    """Train a new network of `depth` layers with 8 filters for one window of steps and return the warnings."""
    stem = tuple(Conv(f"conv{number}", 8, activation=activation, normalize=normalize) for number in range(depth))
    network = (*stem, MaxPool("pool", 2), Conv("linear", 7, size=1, normalize=False, activation="linear"))
    spec = ModelSpec(("a", "b"), ((2.0, 2.0),), network, input_size=16)
    config = Config(
        **({"optimizer": "sgd", "batch_size": 2, "weight_decay": 0.0, "batch_norm": "train", "clip": "none"} | PER_IMAGE | settings)
    )
    trainer = Trainer(InitialModel(Model("new", spec, fresh_arrays(network, config)), frozenset()), config, frozenset())
    targets = dense_targets(ground_truth_of(np.array([[2, 2, 10, 12]], np.float32), np.array([1])), spec, max_boxes=2)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    probe, monitor = ActivationProbe.of(spec), LayerMonitor()
    before = probe.dead_units(trainer.model("before", {}), images)
    for step in range(WINDOW):
        monitor.observe(
            trainer.step(images, {name: np.stack([array] * 2) for name, array in targets.items()}, number=step, learning_rate=rate)
        )
    return [*monitor.warnings(), *dead_unit_warnings(probe.dead_units(trainer.model("after", {}), images), before)]


def test_gradients_vanish_in_a_deep_sigmoid_network_but_not_in_a_leaky_one():
    warnings = warnings_of_training(depth=14, activation="logistic", rate=1e-3, init="glorot")
    assert [sentence.partition("'")[0] for sentence in warnings] == [f"conv{number}" for number in range(len(warnings))]
    assert len(warnings) in range(1, 5)
    assert all("it vanishes" in sentence for sentence in warnings)
    assert warnings_of_training(depth=14, activation="leaky", rate=1e-3) == []


def test_monitor_reports_dead_units_after_exploding_learning_rate():
    warnings = " ".join(warnings_of_training(depth=4, activation="relu", rate=1.0))
    assert "conv0 has had no gradient for 50 steps because all units of a later layer are dead" in warnings
    assert "100% of conv2's channels are dead; before training 0% were" in warnings


def test_monitor_reports_exploding_gradients_even_if_they_are_clipped():
    warnings = warnings_of_training(depth=4, activation="leaky", rate=1e-3, normalize=True, object_scale=1e4, clip="global-norm")
    assert len(warnings) == 5
    assert all("times its weights for 50 steps: it explodes" in sentence for sentence in warnings)
