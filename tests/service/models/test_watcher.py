"""The watcher of the model folder, scan by scan."""

import os
import shutil
from dataclasses import replace

import pytest

from detector.errors import UnknownModel
from detector.network.spec import Model
from weights.repository.layout import MODEL_FILE
from weights.repository.publish import add_version, remove_version


def test_first_scan_serves_the_highest_version_of_each_model(watch, models, write_model, tiny_model, another_model):
    write_model(models / "fruit" / "9" / MODEL_FILE, tiny_model)
    write_model(models / "fruit" / "10" / MODEL_FILE, another_model)
    write_model(models / "flat.safetensors", tiny_model)
    folder = watch()
    assert folder.served == {"flat": ["1"], "fruit": ["10"]}
    assert folder.registry.get("fruit").detector.spec.labels == another_model.spec.labels
    assert folder.registry.get("fruit").name == "fruit"
    assert folder.registry.default.name == "flat"
    assert folder.registry.load_count == 2


def test_new_version_is_served_after_two_equal_scans(watch, models, tiny_model, another_model):
    add_version(models, "fruit", tiny_model)
    folder = watch()
    add_version(models, "fruit", another_model)
    assert folder.scan(1).served == {"fruit": ["1"]}
    assert folder.scan(1).served == {"fruit": ["2"]}


def test_file_that_is_being_copied_is_not_read(watch, models, write_model, tiny_model, another_model):
    add_version(models, "fruit", tiny_model)
    folder = watch()
    complete = models.parent / "complete"
    write_model(complete, another_model)
    data = complete.read_bytes()
    copied = models / "fruit" / "2" / MODEL_FILE
    copied.parent.mkdir()
    for part in (data[:100], data[:-1]):
        copied.write_bytes(part)
        assert folder.scan(1).served == {"fruit": ["1"]}
    assert not folder.rejected
    folder.scan(1)  # the copy has paused before its end
    assert folder.served == {"fruit": ["1"]}
    assert "damaged, truncated" in folder.rejected["fruit", "2"]
    copied.write_bytes(data)
    assert folder.scan(1).served == {"fruit": ["1"]}
    assert folder.scan(1).served == {"fruit": ["2"]}
    assert not folder.rejected


@pytest.mark.parametrize("defect", ["damaged", "cut", "foreign", "a folder", "stem", "pipe"])
def test_broken_version_is_rejected_with_a_reason_and_the_old_version_stays(watch, models, write_model, tiny_model, defect, caplog):
    add_version(models, "mine", tiny_model)
    folder = watch()
    old = folder.registry.get("mine")
    path = models / "mine" / "2" / MODEL_FILE
    write_model(path, tiny_model)
    data = path.read_bytes()
    if defect == "stem":
        network = tiny_model.spec.network[:2]
        arrays = {name: array for name, array in tiny_model.arrays.items() if name.startswith("conv1/")}
        write_model(path, Model("stem", replace(tiny_model.spec, labels=(), anchors=(), network=network), arrays))
    elif defect in ("a folder", "pipe"):
        path.unlink()
        (path.mkdir if defect == "a folder" else lambda: os.mkfifo(path))()
    else:
        path.write_bytes({"damaged": data[:-4] + b"oops", "cut": data[:-1], "foreign": b"<html>"}[defect])
    folder.scan()
    assert folder.registry.get("mine") is old
    assert "mine/2/model.safetensors" in folder.rejected["mine", "2"]
    assert str(models) not in folder.rejected["mine", "2"]
    assert folder.rejected["mine", "2"] in caplog.text
    assert folder.scan(5).registry.rejection_count == 1
    with pytest.raises(
        UnknownModel, match=r"^Version '2' of model 'mine' is not loaded. Loaded versions: 1\. Refused: .*model\.safetensors"
    ):
        folder.registry.get("mine", "2")
    shutil.rmtree(path.parent)
    write_model(path, tiny_model)
    assert folder.scan().served == {"mine": ["2"]}
    assert not folder.rejected


def test_file_that_is_replaced_in_place_is_loaded_unless_it_is_broken(watch, models, write_model, tiny_model, another_model):
    path = models / "flat.safetensors"
    write_model(path, tiny_model)
    folder = watch()
    first = folder.registry.get("flat")
    path.write_bytes(path.read_bytes()[:-1])
    assert folder.scan().registry.get("flat") is first
    assert folder.rejected
    write_model(path, another_model)
    assert folder.scan().registry.get("flat").detector.spec.labels == another_model.spec.labels
    assert not folder.rejected


def test_symbolic_links_that_kubernetes_swaps_are_followed(watch, models, write_model, tiny_model, another_model):
    for number, model in enumerate((tiny_model, another_model)):
        write_model(models / f"..2026_{number}" / "mine.safetensors", model)
    (models / "..data").symlink_to("..2026_0")
    (models / "mine.safetensors").symlink_to("..data/mine.safetensors")
    folder = watch()
    assert folder.registry.get("mine").detector.spec.labels == tiny_model.spec.labels
    (models / "..new").symlink_to("..2026_1")
    (models / "..new").rename(models / "..data")
    assert folder.scan().registry.get("mine").detector.spec.labels == another_model.spec.labels
    assert folder.served == {"mine": ["1"]}


def test_removed_model_is_unloaded_after_two_scans(watch, models, tiny_model):
    for name in ("one", "two"):
        add_version(models, name, tiny_model)
    folder = watch()
    remove_version(models, "one")
    assert folder.scan(1).served == {"one": ["1"], "two": ["1"]}
    assert folder.scan(1).served == {"two": ["1"]}
    with pytest.raises(UnknownModel, match="This service has two"):
        folder.registry.get("one")


def test_unreadable_folder_unloads_nothing(watch, models, tiny_model, caplog):
    add_version(models, "mine", tiny_model)
    folder = watch()
    models.rename(models.with_name("away"))
    assert folder.scan(5).served == {"mine": ["1"]}
    assert caplog.text.count("Loaded models stay available") == 1
    models.with_name("away").rename(models)
    add_version(models, "mine", tiny_model)
    assert folder.scan().served == {"mine": ["2"]}


def test_model_that_is_missing_in_one_scan_is_not_loaded_again(watch, models, tiny_model):
    add_version(models, "mine", tiny_model)
    folder = watch()
    before = folder.registry.get("mine")
    (models / "mine").rename(models / ".mine")
    folder.scan(1)
    (models / ".mine").rename(models / "mine")
    assert folder.scan().registry.get("mine") is before


def test_unexpected_engine_error_rejects_the_version(watch, models, tiny_model, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("no kernel for this")

    add_version(models, "mine", tiny_model)
    monkeypatch.setattr("weights.engines.factory.Choice.build", fail)
    folder = watch()
    assert "the engine cannot run this network (RuntimeError)" in folder.rejected["mine", "1"]
    assert "no kernel for this" in caplog.text


def test_version_without_a_file_is_rejected_until_the_file_arrives(watch, models, write_model, tiny_model):
    add_version(models, "mine", tiny_model)
    (models / "mine" / "2").mkdir()
    folder = watch()
    assert folder.served == {"mine": ["1"]}
    assert "cannot be read: No such file" in folder.rejected["mine", "2"]
    assert folder.scan(5).registry.rejection_count == 1
    write_model(models / "mine" / "2" / MODEL_FILE, tiny_model)
    assert folder.scan().served == {"mine": ["2"]}


def test_file_whose_name_is_not_a_model_name_is_rejected(watch, models, write_model, tiny_model):
    write_model(models / "my model.safetensors", tiny_model)
    folder = watch()
    assert folder.served == {}
    assert "is not a model name" in folder.rejected["my model.safetensors", None]
    assert folder.scan(3).registry.rejection_count == 1
    (models / "my model.safetensors").unlink()
    assert not folder.scan().rejected
