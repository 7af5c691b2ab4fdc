from dataclasses import replace

import numpy as np
import pytest

from detector.network import Conv, MaxPool
from detector.spec import Model, ModelSpec
from training.config import Config
from training.step import StepReport, Trainer
from training.targets import dense_targets
from training.transfer import Start, fresh_arrays
from training.watch import WINDOW, Flat, Probe, Watcher, flat_sentences


def watched(gradient, steps=WINDOW, weight=2.0):
    watcher = Watcher()
    for _ in range(steps):
        watcher.observe(StepReport({"box": 1.0}, {"conv3_2": gradient, "fine": 0.01}, {"conv3_2": weight, "fine": 1.0}))
    return watcher


@pytest.mark.parametrize(
    ("gradient", "sentence"),
    [
        (4e-8, "conv3_2's gradient has been 2e-08 of its weights for 50 steps: it is not learning"),
        (100.0, "conv3_2's gradient has been 50 times its weights for 50 steps: it explodes"),
    ],
)
def test_vanishing_and_exploding_gradients_are_said(gradient, sentence):
    (said,) = watched(gradient).sentences()
    assert said.startswith(sentence)
    assert watched(gradient).medians()["conv3_2"] == gradient / 2


def test_nothing_is_said_of_healthy_layers_nor_before_a_whole_window():
    assert list(watched(0.1).sentences()) == []
    assert list(watched(4e-8, steps=WINDOW - 1).sentences()) == []


def test_a_layer_that_is_frozen_is_forgotten():
    watcher = watched(4e-8)
    watcher.observe(StepReport({}, {"fine": 0.01}, {"fine": 1.0}))
    assert set(watcher.medians()) == {"fine"}


def test_dead_and_saturated_channels_are_counted(small_model):
    network = tuple(replace(layer, activation="relu6") if layer.name == "conv1" else layer for layer in small_model.spec.network)
    model = replace(small_model, spec=replace(small_model.spec, network=network))
    beta = model.arrays["conv1/beta"].copy()
    beta[:2], beta[2:5] = -1e3, 1e3
    dead = replace(model, arrays=dict(model.arrays) | {"conv1/beta": beta})
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    flat = Probe.of(model.spec).flat(dead, images)
    assert set(flat) == {"conv1", "conv4"}  # leaky ones are flat nowhere
    assert flat["conv1"] == Flat(2 / 8, 3 / 8)


def test_too_many_flat_channels_are_said_where_training_made_them():
    before = {"conv4": Flat(0.25, 0.0), "conv5": Flat(0.0, 0.0), "conv6": Flat(0.0, 0.0), "conv7": Flat(0.6, 0.0)}
    after = {"conv4": Flat(0.75, 0.0), "conv5": Flat(0.5, 0.1), "conv6": Flat(0.0, 0.6), "conv7": Flat(0.65, 0.0)}
    assert [sentence.partition(":")[0] for sentence in flat_sentences(after, before)] == [
        "75% of conv4's channels are dead, 25% were before training",
        "60% of conv6's channels are saturated, 0% were before training",
    ]


def test_a_network_of_leaky_layers_has_nothing_to_look_at(small_model):
    network = tuple(
        replace(layer, activation="leaky") if isinstance(layer, Conv) and layer.name == "conv4" else layer
        for layer in small_model.spec.network
    )
    model = replace(small_model, spec=replace(small_model.spec, network=network))
    assert Probe.of(model.spec).flat(model, np.zeros((1, 64, 64, 3), np.float32)) == {}


PER_IMAGE = {"loss_norm": "images", "object_scale": 5.0, "noobject_scale": 1.0, "coord_scale": 1.0, "backbone_rate": 1.0}
"""A loss large enough for the rates that these tests choose."""


def said_of_a_real_run(*, depth, activation, rate, normalize=False, **settings):
    """What the watcher says after a window of steps of a network of `depth` layers of 8 filters that begins anew."""
    stem = tuple(Conv(f"conv{number}", 8, activation=activation, normalize=normalize) for number in range(depth))
    network = (*stem, MaxPool("pool", 2), Conv("linear", 7, size=1, normalize=False, activation="linear"))
    spec = ModelSpec(("a", "b"), ((2.0, 2.0),), network, input_size=16)
    config = Config(
        **({"optimizer": "sgd", "batch_size": 2, "weight_decay": 0.0, "batch_norm": "train", "clip": "none"} | PER_IMAGE | settings)
    )
    trainer = Trainer(Start(Model("anew", spec, fresh_arrays(network, config)), frozenset()), config, frozenset())
    one = dense_targets(np.array([[2, 2, 10, 12]], np.float32), np.array([1]), spec, 2)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    probe, watcher = Probe.of(spec), Watcher()
    before = probe.flat(trainer.model("before", {}), images)
    for step in range(WINDOW):
        watcher.observe(trainer.step(images, {name: np.stack([part] * 2) for name, part in one.items()}, number=step, rate=rate))
    return [*watcher.sentences(), *flat_sentences(probe.flat(trainer.model("after", {}), images), before)]


def test_a_deep_stack_of_sigmoids_is_said_to_vanish_towards_the_input_and_one_of_leaky_units_is_not():
    said = said_of_a_real_run(depth=14, activation="logistic", rate=1e-3, init="glorot")
    assert [sentence.partition("'")[0] for sentence in said] == [f"conv{number}" for number in range(len(said))]
    assert len(said) in range(1, 5)
    assert all("it is not learning" in sentence for sentence in said)
    assert said_of_a_real_run(depth=14, activation="leaky", rate=1e-3) == []


def test_units_that_a_wild_rate_kills_are_said_to_be_dead_and_to_pass_no_gradient_on():
    said = " ".join(said_of_a_real_run(depth=4, activation="relu", rate=1.0))
    assert "conv0 has had no gradient at all for 50 steps: what lies above passes none on, being dead" in said
    assert "100% of conv2's channels are dead, 0% were before training" in said


def test_a_loss_that_is_weighted_too_heavily_is_said_to_explode_though_it_is_clipped():
    said = said_of_a_real_run(depth=4, activation="leaky", rate=1e-3, normalize=True, object_scale=1e4, clip="global-norm")
    assert len(said) == 5
    assert all("times its weights for 50 steps: it explodes" in sentence for sentence in said)
