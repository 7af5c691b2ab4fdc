"""When a run keeps the classes of its initial model, and when it trains on that model's memory."""

from dataclasses import replace

import pytest

from training.config.options import Config
from training.data.voc_reader import read_set
from training.features.kept_classes import CACHED_VIEWS, KeptClasses
from training.features.remember import make_memory


@pytest.fixture(scope="module")
def memory(rectangles, small_model):
    return make_memory(small_model, read_set(rectangles, "train"), 6, size=64)


CASES = [
    # options, memory, keep, trains on the memory, valid
    ({}, True, True, True, True),
    ({}, False, False, False, False),
    ({"classes": "keep"}, False, True, False, False),
    ({"classes": "replace"}, True, False, True, True),
    ({"classes": "replace", "unfreeze_at": 2.0}, True, False, False, False),
    ({"unfreeze_at": 3.0}, True, False, False, False),
    ({"unfreeze_at": 20.0}, True, True, True, True),
    ({"classes": "keep", "unfreeze_at": 3.0}, True, True, True, False),
    ({"freeze": "none"}, True, False, False, False),
    ({"freeze": "conv3"}, True, False, False, False),
    ({"batch_norm": "train"}, True, False, False, False),
    ({"anchors": "kmeans"}, True, False, False, False),
    ({"anchors": "kmeans", "epochs": 4}, True, False, True, True),
    ({"head": "yolov2"}, True, False, False, False),
    ({"network": "tiny", "freeze": "none"}, True, False, False, False),
    ({"memory_share": 0.0}, True, False, False, False),
    ({"overfit": 3}, True, False, False, False),
]


@pytest.mark.parametrize(("options", "has_memory", "keep", "trains", "valid"), CASES)
def test_options_and_memory_decide_whether_classes_are_kept(options, has_memory, keep, trains, valid, memory, small_model):
    config = Config(**({"epochs": 20} | options))
    kept = KeptClasses.decide(config, small_model, ("blue", "red"), memory if has_memory else None)
    assert (kept.keep, kept.memory is not None, kept.memory_stays_valid) == (keep, trains, valid)
    assert kept.labels == (("red", "green", "blue") if keep else ("blue", "red"))
    assert kept.new_labels == {"blue"}
    resolved = kept.resolve(config)
    assert KeptClasses.decide(resolved, small_model, ("blue", "red"), memory if has_memory else None) == kept  # as in a resumed run


@pytest.mark.parametrize(
    ("options", "has_memory", "sentence", "warns"),
    [
        ({}, True, "The new model keeps the 2 classes of the initial model and learns 1 new class: blue.", False),
        ({}, False, "The new model detects 1 class: blue. It loses 2 classes of the initial model.", True),
        ({"classes": "replace"}, False, "The new model detects 1 class: blue. It loses 2 classes of the initial model.", False),
        ({"network": "tiny", "freeze": "none"}, False, "The new model detects 1 class: blue.", False),
    ],
)
def test_the_classes_of_the_new_model_are_described(options, has_memory, sentence, warns, memory, small_model, caplog):
    config = Config(**({"epochs": 20} | options))
    kept = KeptClasses.decide(config, small_model, ("blue",), memory if has_memory else None)
    assert kept.describe() == sentence
    assert ("The initial model has no memory" in caplog.text) == warns


def test_a_run_without_new_classes_is_described(memory, small_model):
    kept = KeptClasses.decide(Config(epochs=20), small_model, ("red",), memory)
    assert kept.describe() == "The new model keeps the 2 classes of the initial model and learns no new class."


def test_a_frozen_backbone_with_cached_features_is_the_default_with_a_memory(memory, small_model):
    config = KeptClasses.decide(Config(), small_model, ("blue",), memory).resolve(Config())
    assert (config.unfreeze_at, config.cache_features) == (20.0, CACHED_VIEWS)
    varied = Config(multi_scale=1)
    assert KeptClasses.decide(varied, small_model, ("blue",), memory).resolve(varied).cache_features == 0
    given = Config(cache_features=2)
    assert KeptClasses.decide(given, small_model, ("blue",), memory).resolve(given).cache_features == 2
    assert KeptClasses.decide(Config(), small_model, ("blue",), None).resolve(Config()) == Config()


@pytest.mark.parametrize(
    ("recorded", "expected"), [('{"assign_iou": 0.35}', 0.35), ("{}", 1.0), ("none", 1.0), ('{"assign_iou": "high"}', 1.0), ("[]", 1.0)]
)
def test_a_run_that_keeps_classes_uses_the_assign_iou_of_their_training(recorded, expected, memory, small_model):
    model = replace(small_model, provenance={"config": recorded})
    assert KeptClasses.decide(Config(), model, ("blue",), memory).resolve(Config()).assign_iou == expected
    given = Config(assign_iou=0.5)
    assert KeptClasses.decide(given, model, ("blue",), memory).resolve(given).assign_iou == 0.5
    assert KeptClasses.decide(Config(), model, ("blue",), None).resolve(Config()).anchor_iou == 1.0


def test_labels_that_the_model_knows_are_not_new(memory, small_model):
    kept = KeptClasses.decide(Config(), small_model, ("red",), memory)
    assert (kept.labels, kept.new_labels) == (("red", "green"), frozenset())
