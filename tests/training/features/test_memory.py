"""A memory: its stored features, its batches, and invalid memories that are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from detector.boxes.placement import Placement
from detector.engines.onnxruntime import OnnxFeatureExtractor
from detector.errors import ModelFileError
from detector.network.architectures import Backbone, efficientnet_lite0, upsampling_head
from detector.network.layers import Conv, Route
from detector.network.spec import Model, ModelSpec
from training.config.options import Config
from training.data.ground_truth import Role
from training.data.voc_reader import read_set
from training.distributed.process_group import WHOLE_BATCH, Shard
from training.errors import ConfigError
from training.features.basis import Basis, compress, decompress
from training.features.memory import is_held_out, select_balanced
from training.features.memory_batches import MemoryBatches
from training.features.memory_format import memory_from_entries, memory_to_entries
from training.features.remember import make_memory
from training.features.split_point import StoredLayer, stored_layers
from training.modeling.transfer import transfer
from weights.formats.memory_entries import summarise_memory


@pytest.fixture(scope="module")
def memory(rectangles, small_model):
    """Nine images, remembered almost exactly."""
    return make_memory(small_model, read_set(rectangles, "train"), 9, labels=("red", "blue"), size=64, step=0.02)


@pytest.fixture
def batches(memory, small_model):
    """(settings) -> batches of the memory for a model with the further label "new"."""

    def make(shard=WHOLE_BATCH, **settings):
        config = Config(batch_size=4, memory_share=0.5, **settings)
        model = transfer(small_model, ("red", "green", "new"), small_model.spec.anchors, config).model
        return MemoryBatches(memory, model, frozenset({"new"}), config, shard)

    return make


def test_all_components_with_a_small_step_restore_the_features():
    features = np.random.default_rng(0).normal(3, [1, 5, 0.2, 2], (500, 4)).astype(np.float32)
    basis = Basis.fit(features, step=0.01)
    image = features[:16].reshape(4, 4, 4)
    np.testing.assert_allclose(basis.decode(basis.encode(image)[None])[0], image, atol=0.1)


def test_components_below_half_a_step_are_dropped():
    rng = np.random.default_rng(0)
    features = rng.normal(0, [10, 10, 0.001], (300, 3)).astype(np.float32)
    assert len(Basis.fit(features, step=0.5).steps) == 2


def test_decompression_refuses_another_length_and_damaged_data():
    data = compress(bytes(range(200)))
    assert decompress(data, 200) == bytes(range(200))
    for content, size in ((data, 199), (data, 201), (data[:-3], 200), (data + b"x", 200), (b"", 200), (b"\xff" * 20, 200)):
        with pytest.raises(ValueError, match="compressed features"):
            decompress(content, size)


def test_remembered_features_are_those_of_the_frozen_layers(memory, small_model, rectangles):
    samples = read_set(rectangles, "train")
    extractor = OnnxFeatureExtractor.of(small_model, memory.layers)
    decoder = memory.decoder(small_model)
    for image, sample in zip(memory.images, samples, strict=True):
        placement = Placement.fit(small_model.spec, sample.load_image())
        expected = extractor(placement.apply(sample.load_image())[None])
        decoded = decoder.features([decoder.codes(image)])
        for layer in memory.layers:
            assert np.abs(decoded[layer] - expected[layer]).mean() <= 0.03 * expected[layer].std()
        np.testing.assert_allclose(image.boxes, np.clip(placement.to_network(sample.boxes), 0, 64), atol=1e-3)
        assert image.labels == sample.labels
        assert image.labelled == {"red", "blue"}


def test_the_layer_before_an_expansion_is_stored_and_the_expansion_is_computed_again(random_arrays, rectangles):
    backbone = efficientnet_lite0()
    network = upsampling_head(("red", "blue"), backbone=Backbone(backbone.layers, "block12_expand"), anchors=2, filters=8, lateral=8)
    stored = stored_layers(network, ("block12_expand", "block16_project"))
    assert [(each.name, each.feature_layer) for each in stored] == [
        ("block11_add", "block12_expand"),
        ("block16_project", "block16_project"),
    ]
    model = Model("lite", ModelSpec(("red", "blue"), ((1.0, 1.0), (2.0, 2.0)), network, input_size=64), random_arrays(network, 3))
    samples = read_set(rectangles, "train")
    made = make_memory(model, samples, 9, size=64, step=0.02)
    pixels = Placement.fit(model.spec, samples[0].load_image()).apply(samples[0].load_image())
    expected = OnnxFeatureExtractor.of(model, ("block12_expand",))(pixels[None])["block12_expand"]
    decoder = made.decoder(model)
    decoded = decoder.features([decoder.codes(made.images[0])])["block12_expand"]
    assert np.abs(decoded - expected).mean() <= 0.03 * expected.std()


def test_layers_other_than_expansions_are_stored_themselves(small_model):
    assert stored_layers(small_model.spec.network, ("conv4", "conv5")) == (StoredLayer("conv4", "conv4"), StoredLayer("conv5", "conv5"))
    network = (Conv("a", 4), Conv("b", 8, size=1, activation="swish"), Route("c", ("b",)))
    assert stored_layers(network, ("b",)) == (StoredLayer("b", "b"),)


def test_entries_and_memory_are_converted_without_loss(memory, small_model):
    entries = memory_to_entries(memory)
    copy = memory_from_entries(entries, small_model)
    assert memory_to_entries(copy) == entries
    assert copy.boxes_by_label == memory.boxes_by_label
    summary = summarise_memory(entries)
    assert (summary["images"], summary["input_sizes"], summary["boxes"]) == (9, [64], dict(memory.boxes_by_label))
    assert summary["bytes"] == sum(map(len, entries.values()))


def with_changed_index(entries, change):
    index = json.loads(entries["index"])
    change(index)
    return entries | {"index": json.dumps(index).encode()}


INVALID = {
    "another format": lambda index: index.update(format=2),
    "no layers": lambda index: index.update(layers=[]),
    "an unknown layer": lambda index: index["layers"][0].__setitem__(0, "zebra"),
    "too many components": lambda index: index["layers"][0].__setitem__(2, 10**9),
    "no images": lambda index: index.update(images=[]),
    "too many images": lambda index: index.update(images=index["images"] * 10_000),
    "a huge input": lambda index: index["images"][0].update(size=10**6),
    "an input that does not fit": lambda index: index["images"][0].update(size=65),
    "features beyond the end": lambda index: index["images"][0].update(bytes=10**9),
    "a box outside": lambda index: index["images"][0].update(boxes=[[0, 0, 65, 65]], labels=[0], roles=[0]),
    "an empty box": lambda index: index["images"][0].update(boxes=[[5, 5, 5, 9]], labels=[0], roles=[0]),
    "a box too few": lambda index: index["images"][0].update(boxes=[]),
    "an unknown role": lambda index: index["images"][0].update(roles=[9] * len(index["images"][0]["roles"])),
    "an unknown label": lambda index: index["images"][0].update(labelled=[7]),
    "a negative label": lambda index: index["images"][0].update(labelled=[-1]),
    "a string instead of a list": lambda index: index.update(images="none"),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_memory_is_refused_with_the_command_that_removes_it(memory, small_model, case):
    with pytest.raises(ModelFileError, match=r"its memory is invalid.*weights strip"):
        memory_from_entries(with_changed_index(memory_to_entries(memory), INVALID[case]), small_model)


def test_truncated_entries_are_refused(memory, small_model):
    entries = memory_to_entries(memory)
    for name in entries:
        with pytest.raises(ModelFileError):
            memory_from_entries(entries | {name: entries[name][:-1]}, small_model)


def test_selection_represents_rare_labels():
    labels = [["cat"]] * 50 + [["dog"]] * 5 + [["dog", "cow"]] + [[]] * 3
    chosen = select_balanced(labels, 10, seed=0)
    selected_labels = [tuple(labels[index]) for index in chosen]
    assert len(chosen) == len(set(chosen)) == 10
    assert ("dog", "cow") in selected_labels
    assert selected_labels.count(()) == 3
    assert 2 <= selected_labels.count(("cat",)) <= 4
    assert select_balanced(labels, 1000, seed=0) == list(range(59))
    assert select_balanced(labels, 10, seed=0) == chosen


def test_a_batch_depends_on_seed_and_step_alone(batches):
    first, second = batches(), batches()
    for step in (5, 0, 3):
        (features, targets), (other_features, other_targets) = first.batch(step), second.batch(step)
        assert all(np.array_equal(features[layer], other_features[layer]) for layer in features)
        assert all(np.array_equal(targets[name], other_targets[name]) for name in targets)
    assert not np.array_equal(first.batch(0)[0]["conv4"], batches(seed=1).batch(0)[0]["conv4"])


def test_every_image_is_trained_on_except_the_held_out_ones(batches):
    made = batches()
    used = {index for epoch in range(2) for batch in made._order(epoch) for index in batch}
    held_out = {index for index in range(9) if is_held_out(index, 9)}
    assert set(made.held_out) == held_out == {5}
    assert used == set(range(9)) - held_out


def test_the_shards_of_several_workers_form_the_batch(batches):
    whole = batches().batch(2)
    parts = [batches(shard=Shard(index, 3)).batch(2) for index in range(3)]
    for layer, features in whole[0].items():
        np.testing.assert_array_equal(np.concatenate([part[0][layer] for part in parts]), features)
    for name, target in whole[1].items():
        np.testing.assert_array_equal(np.concatenate([part[1][name] for part in parts]), target)


def test_remembered_images_lack_new_labels_and_may_show_unlabelled_ones(memory):
    image = replace(memory.images[0], labels=("red",), boxes=memory.images[0].boxes[:1], roles=np.array([Role.OBJECT], np.int8))
    truth = replace(image, labelled=frozenset({"red"})).truth(("green", "red", "new"), frozenset({"new"}))
    assert truth.class_ids.tolist() == [1]
    assert truth.partial[0].labelled.tolist() == [False, True, True]
    assert replace(image, labelled=frozenset({"red", "green"})).truth(("green", "red", "new"), frozenset({"new"})).partial == ()
    assert replace(image, labelled=frozenset({"red"})).truth(("new",), frozenset({"new"})).boxes.shape == (0, 4)


def test_a_memory_needs_images_and_a_suitable_size(rectangles, small_model):
    with pytest.raises(ConfigError, match="no images to remember"):
        make_memory(small_model, [], 5)
    with pytest.raises(ConfigError, match="multiple of 16, got 50"):
        make_memory(small_model, read_set(rectangles, "train"), 5, size=50)
