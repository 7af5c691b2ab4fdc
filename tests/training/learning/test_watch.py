from dataclasses import replace

import numpy as np
import pytest

from detector.network import Conv
from training.step import StepReport
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
