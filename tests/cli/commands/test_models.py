"""`boxwright models` manages a model folder."""

import json
import shutil
from dataclasses import replace

import pytest

from weights.embedded import EVERYDAY
from weights.formats.safetensors import save_model


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "models"
    path.mkdir()
    return path


@pytest.fixture
def models(boxwright, folder):
    """(command, arguments) -> the result of `boxwright models COMMAND ARGUMENTS` for the folder."""
    return lambda command, *arguments: boxwright("models", command, *arguments, "--models", folder)


def rows(listed):
    """Return name, version and state of each line."""
    return [tuple(line.split("\t")[:3]) for line in listed.out.splitlines()]


def test_versions_are_added_rolled_back_promoted_and_removed(models, model_file):
    assert models("add", model_file).out.startswith("tiny: version 1 is now the newest (")
    assert models("add", model_file, "--name", "tiny").out.startswith("tiny: version 2")
    assert models("add", model_file, "--name", "other").code == 0
    assert rows(models("list")) == [("other", "1", "newest"), ("tiny", "2", "newest"), ("tiny", "1", "kept")]
    assert models("rollback", "tiny").out == "tiny: version 1 is now the newest.\n"
    assert rows(models("list"))[1:] == [("tiny", "1", "newest"), ("tiny", "2", "aside")]
    assert models("promote", "tiny", 2).out == "tiny: version 2 is now the newest.\n"
    assert models("remove", "tiny", "--version", 1).out == "tiny: removed version 1.\n"
    assert models("remove", "other").out == "other: removed version 1.\n"
    assert rows(models("list")) == [("tiny", "2", "newest")]


def test_the_folder_can_come_from_the_environment(boxwright, folder, model_file, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MODELS", str(folder))
    assert boxwright("models", "add", model_file).code == 0
    assert rows(boxwright("models", "list")) == [("tiny", "1", "newest")]


def test_a_model_of_the_package_is_added_by_name(models, folder):
    assert models("add", "everyday").code == 0
    assert (folder / "everyday" / "1" / "model.safetensors").read_bytes() == EVERYDAY.read_bytes()


def test_old_versions_are_deleted_with_keep(models, model_file):
    for _ in range(3):
        assert models("add", model_file, "--keep", 2).code == 0
    assert rows(models("list")) == [("tiny", "3", "newest"), ("tiny", "2", "kept")]


def test_json_list_has_labels_ap_and_damaged_files(models, folder, tiny_model, model_file):
    save_model(replace(tiny_model, provenance={"ap50": "0.5000 on set val, 4 images"}), model_file)
    models("add", model_file)
    (folder / "flat.safetensors").write_bytes(b"no model")
    shutil.copy(model_file, folder / "my model.safetensors")
    listed = json.loads(models("list", "--json").out)
    flat, tiny = listed["versions"]
    assert (flat["name"], flat["state"]) == ("flat", "damaged")
    assert (tiny["labels"], tiny["ap"], tiny["state"]) == (3, "0.5000 on set val, 4 images", "newest")
    assert tiny["file"] == str(folder / "tiny" / "1" / "model.safetensors")
    assert len(listed["problems"]) == 2
    assert "my model" in models("list").err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "{file}", "--name", "a/b"), "a model's name begins with a letter or digit"),
        (("add", "nowhere.safetensors"), "nowhere.safetensors cannot be read: No such file or directory"),
        (("add", "unknown"), "there is no model 'unknown'"),
        (("rollback", "mine"), "has no model 'mine'"),
        (("promote", "mine", "1"), "has no model 'mine'"),
        (("remove", "mine"), "has no model 'mine'"),
    ],
)
def test_an_impossible_request_is_reported_in_one_sentence(models, model_file, folder, arguments, sentence):
    result = models(*(argument.format(file=model_file) for argument in arguments))
    assert result.code == 2
    assert sentence in result.err
    assert not [path for path in folder.iterdir() if path.name != ".lock"]


def test_a_missing_folder_is_reported_in_one_sentence(boxwright, tmp_path, model_file):
    for arguments in (("list",), ("add", model_file)):
        result = boxwright("models", *arguments, "--models", tmp_path / "nowhere")
        assert result.code == 2
        assert "there is no such folder" in result.err
