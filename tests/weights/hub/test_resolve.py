"""Finding a model by its name or path, and suggestions for unknown names."""

import pytest

from detector.errors import ModelFileError, UnknownModel
from weights.embedded import EMBEDDED
from weights.formats.safetensors import save_model
from weights.hub.catalogue import entry_of
from weights.hub.resolve import find_model, is_known_model, resolve_model


def test_the_default_is_the_shipped_model():
    assert find_model(None).path == EMBEDDED["everyday"]
    assert is_known_model("everyday")
    assert not is_known_model("my-model")


def test_a_file_is_found_by_its_path_and_by_its_bare_name(tiny_model, tmp_path, monkeypatch):
    save_model(tiny_model, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("mine").name == resolve_model(str(tmp_path / "mine")).name == "tiny-random"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("everyady", "everyday"),
        ("Everyday", "everyday"),
        ("yolov2_voc", "yolov2-voc"),
        ("yolo-v2-coco", "yolov2-coco"),
        ("darknet-19", "darknet19"),
    ],
)
def test_an_unknown_name_gets_the_nearest_name_as_suggestion(name, suggestion):
    with pytest.raises(UnknownModel, match=rf"there is no model '{name}'\. Did you mean '{suggestion}'\?"):
        find_model(name)


def test_an_unknown_name_without_a_similar_one_gets_all_known_names():
    with pytest.raises(UnknownModel, match=r"there is no model 'zzz'\. Known names: everyday, everyday-int8, yolov2-voc"):
        find_model("zzz")
    with pytest.raises(UnknownModel, match=r"the catalogue has no model 'yolov2-vok'\. Did you mean 'yolov2-voc'\?"):
        entry_of("yolov2-vok")


@pytest.mark.parametrize("typed", ["runs/first", "first"])
def test_a_run_folder_gets_the_path_of_its_best_model(tiny_model, tmp_path, monkeypatch, typed):
    folder = tmp_path / typed
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModel, match=rf"{typed} is a folder, not a model\. Give the path of a \.safetensors file\."):
        find_model(typed)
    save_model(tiny_model, folder / "best.safetensors")
    with pytest.raises(UnknownModel, match=rf"{typed} is a run folder\. Use its model: {typed}/best\.safetensors$"):
        find_model(typed)


def test_a_missing_file_gets_a_similar_file_as_suggestion(tiny_model, tmp_path):
    with pytest.raises(UnknownModel, match=r"bset\.safetensors: there is no such file\. `boxwright weights list`"):
        find_model(str(tmp_path / "bset.safetensors"))
    save_model(tiny_model, tmp_path / "best.safetensors")
    with pytest.raises(UnknownModel, match=r"bset\.safetensors: there is no such file\. Did you mean .*/best\.safetensors\?"):
        find_model(str(tmp_path / "bset.safetensors"))


def test_an_image_as_model_is_recognised(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(ModelFileError, match=r"cat\.png: this is a PNG image, not a model file\.$"):
        resolve_model(str(tmp_path / "cat.png"))
