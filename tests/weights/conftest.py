"""Strategies for random small models, and fixed small models."""

import numpy as np
import pytest
from hypothesis import strategies as st

from detector.errors import NetworkError
from detector.network.layers import ACTIVATIONS, Conv, MaxPool, Reorg, Route, Shortcut
from detector.network.shapes import LAYER_NAME, array_shapes, output_shapes
from detector.network.spec import Model, ModelSpec
from weights.formats.darknet.cfg import DARKNET_EPSILON
from weights.formats.layer_names import name_layers

small_integers = st.integers(1, 3)
side = st.floats(0.01, 100)


def random_arrays(network, seed=0):
    """Return valid random arrays: finite, without negative variances."""
    random = np.random.default_rng(seed)
    return {name: np.abs(random.standard_normal(shape, np.float32)) for name, shape in array_shapes(network).items()}


layer_names = st.from_regex(LAYER_NAME, fullmatch=True)
label_texts = st.text(min_size=1).filter(lambda text: text.isprintable() and text.strip())


@st.composite
def layers(draw, name, earlier, darknet):
    kind = draw(st.sampled_from(["conv", "conv", "pool", "reorg"] + ["route", "shortcut"] * bool(earlier)))
    if kind == "conv":
        size, normalize = draw(small_integers), draw(st.booleans())
        padding = draw(st.none() | (st.integers(0, 2).map(lambda p: (p, p)) if darknet else st.tuples(*[st.integers(0, 2)] * 2)))
        epsilon = (DARKNET_EPSILON if normalize else Conv.epsilon) if darknet else draw(st.floats(0, 1))
        if darknet and padding == (size // 2, size // 2):
            padding = None
        activation = draw(st.sampled_from(ACTIVATIONS))
        return Conv(name, draw(small_integers), size, draw(small_integers), draw(small_integers), normalize, activation, epsilon, padding)
    if kind == "pool":
        size = draw(small_integers)
        return MaxPool(name, size, draw(small_integers), draw(st.none() | st.integers(0, 4).filter(lambda p: p != size - 1)))
    if kind == "reorg":
        return Reorg(name, draw(small_integers), "darknet" if darknet else draw(st.sampled_from(["darknet", "space-to-depth"])))
    if kind == "route":
        return Route(name, tuple(draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=3))))
    return Shortcut(name, draw(st.sampled_from(earlier)), draw(st.sampled_from(ACTIVATIONS)))


def _fits(network, input_size):
    try:
        return input_size % list(output_shapes(network, input_size).values())[-1].side == 0
    except NetworkError:
        return False


@st.composite
def specs(draw, darknet):
    """Any spec of a small network. darknet: one that a .cfg can express, with the layer names that reading it gives."""
    input_size, network = draw(st.sampled_from([8, 12, 32])), (Conv("first", 4, epsilon=DARKNET_EPSILON),)
    names = [str(number) for number in range(5)] if darknet else draw(st.lists(layer_names, min_size=1, max_size=5, unique=True))
    for name in names:
        layer = draw(layers(name, [before.name for before in network], darknet))
        if _fits((*network, layer), input_size):
            network += (layer,)
    classes = draw(st.integers(1, 3))
    labels = tuple(f"class {index}" for index in range(classes)) if darknet else tuple(draw(st.sets(label_texts, min_size=classes)))
    anchors = tuple(draw(st.lists(st.tuples(side, side), max_size=2)))
    if anchors:
        network += (Conv("outputs", len(anchors) * (5 + len(labels)), 1, normalize=False, activation="linear"),)
    if darknet:
        return ModelSpec(labels if anchors else (), anchors, name_layers(network), input_size, edges="inclusive")
    fit, resample = draw(st.sampled_from(["letterbox", "stretch"])), draw(st.sampled_from(["darknet", "antialiased"]))
    edges = draw(st.sampled_from(["continuous", "inclusive"]))
    scale, offset = draw(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2))
    return ModelSpec(labels, anchors, network, input_size, fit, resample, scale, offset, edges)


@st.composite
def models(draw, darknet):
    spec = draw(specs(darknet))
    number = st.integers(-(2**31), 2**31 - 1)
    major = st.integers(0, 7)  # a file with a larger one may begin like a file of another format
    header = {"major": major, "minor": number, "revision": number, "seen": st.integers(0, 2**31 - 1)}
    provenance = st.dictionaries(st.text(), st.text(), max_size=3)
    if darknet:
        provenance = st.fixed_dictionaries({}, optional={f"darknet.{part}": value.map(str) for part, value in header.items()})
    name = "model" if darknet else draw(label_texts.filter(lambda text: "/" not in text))
    return Model(name, spec, random_arrays(spec.network, draw(st.integers(0, 100))), draw(provenance))


@pytest.fixture(scope="session")
def any_models():
    return models(darknet=False)


@pytest.fixture(scope="session")
def darknet_models():
    return models(darknet=True)


@pytest.fixture(scope="session")
def small_model():
    """A detector with every kind of layer and an input of 16 pixels, which every format can store."""
    network = (
        Conv("conv1", 4, epsilon=DARKNET_EPSILON),
        MaxPool("pool1"),
        Conv("conv2_1", 4, size=1, epsilon=DARKNET_EPSILON),
        Conv("conv2_2", 4, groups=2, activation="mish", epsilon=DARKNET_EPSILON),
        Shortcut("shortcut1", "conv2_1"),
        MaxPool("pool2", size=3, stride=2),
        Route("route1", ("conv2_2",)),
        Reorg("reorg1", order="darknet"),
        Route("route2", ("reorg1", "pool2")),
        Conv("conv3", 14, size=1, normalize=False, activation="linear"),
    )
    spec = ModelSpec(("cat", "dog"), ((0.5, 1.25), (3.0, 2.0)), network, input_size=16, edges="inclusive")
    return Model("small", spec, random_arrays(network), {"source": "test data"})
