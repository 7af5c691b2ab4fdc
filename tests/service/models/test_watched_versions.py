"""Which versions of a model the watcher serves: rollback, promotion, several versions, and the fixed model."""

import pytest

from detector.engines.onnxruntime import OnnxEngine
from service.errors import NoModel
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from weights.repository.layout import MODEL_FILE
from weights.repository.publish import add_version, promote_version, remove_version, rollback_version


def test_rollback_and_promote_are_followed(watch, models, tiny_model, another_model):
    for model in (tiny_model, another_model, tiny_model):
        add_version(models, "mine", model)
    folder = watch()
    assert folder.served == {"mine": ["3"]}
    rollback_version(models, "mine")
    assert folder.scan().served == {"mine": ["2"]}
    promote_version(models, "mine", 1)
    assert folder.scan().served == {"mine": ["1"]}
    promote_version(models, "mine", 3)
    assert folder.scan().served == {"mine": ["3"]}


def test_version_that_was_rolled_back_stays_if_the_previous_one_is_broken(watch, models, tiny_model):
    for _ in range(2):
        add_version(models, "mine", tiny_model)
    folder = watch()
    (models / "mine" / "1" / MODEL_FILE).write_bytes(b"broken")
    rollback_version(models, "mine")
    assert folder.scan(3).served == {"mine": ["2"]}
    assert ("mine", "1") in folder.rejected
    remove_version(models, "mine")
    assert folder.scan().served == {}


def test_first_scan_serves_the_newest_valid_version(watch, models, tiny_model):
    for _ in range(3):
        add_version(models, "mine", tiny_model)
    (models / "mine" / "3" / MODEL_FILE).write_bytes(b"broken")
    folder = watch()
    assert folder.served == {"mine": ["2"]}
    assert ("mine", "3") in folder.rejected


def test_several_versions_stay_loaded_and_answer_by_number(watch, models, tiny_model, another_model):
    for model in (tiny_model, another_model, tiny_model):
        add_version(models, "mine", model)
    folder = watch(max_versions=2)
    assert folder.served == {"mine": ["3", "2"]}
    assert folder.registry.get("mine", "2").detector.spec.labels == another_model.spec.labels
    second = folder.registry.get("mine", "2")
    rollback_version(models, "mine")
    assert folder.scan().served == {"mine": ["2", "1"]}
    assert folder.registry.get("mine") is second  # it was not loaded again


def test_model_of_the_folder_replaces_the_fixed_model_of_its_name_until_it_is_removed(watch, models, tiny_model, another_model):
    fixed = LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model), name="mine")
    folder = watch(Registry([fixed]))
    add_version(models, "mine", another_model)
    add_version(models, "another", another_model)
    assert folder.scan().registry.default.detector.spec.labels == another_model.spec.labels
    assert list(folder.served) == ["mine", "another"]
    remove_version(models, "mine")
    assert folder.scan().registry.default is fixed


def test_default_model_may_be_loaded_later(watch, models, tiny_model):
    add_version(models, "another", tiny_model)
    folder = watch(Registry(default="mine"))
    with pytest.raises(NoModel, match="No model 'mine' is loaded yet"):
        _ = folder.registry.default
    add_version(models, "mine", tiny_model)
    assert folder.scan().registry.default.name == "mine"
    assert list(folder.served) == ["mine", "another"]
