"""`boxwright detect --server`: a service's answers, as if they had been computed here."""

import json

import pytest

from service.auth.api_keys import HashedKey, new_key
from weights.formats.safetensors import save_model


@pytest.fixture(scope="module")
def server(start_service, tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(tiny_model, path)
    service = start_service(path)
    yield service.url
    service.stop()


def test_everything_is_as_if_computed_here(boxwright, server, model_file, photo, tmp_path):
    paths = [photo("dog.jpg"), photo("three.png", 31, 90)]
    options = ("--confidence", "0.02", "--iou", "0.3", "--classes", "dog", "--classes", "cat", "--json")
    here = boxwright("detect", *paths, *options, "--model", model_file, "--out", tmp_path / "here", "--voc", tmp_path / "here")
    there = boxwright("detect", *paths, *options, "--server", server, "--out", tmp_path / "there", "--voc", tmp_path / "there")
    assert (there.code, there.err) == (0, "")
    assert there.out == here.out.replace(str(tmp_path / "here"), str(tmp_path / "there"))
    assert json.loads(there.out.splitlines()[0])["detections"]
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert files == ["dog.boxes.jpg", "dog.xml", "three.boxes.jpg", "three.xml"]
    for name in files:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_a_photo_that_the_service_refuses_is_named_and_the_others_go_on(boxwright, server, photo, tmp_path):
    (tmp_path / "notes.jpg").write_text("not a photo")
    ended = boxwright("detect", tmp_path / "notes.jpg", photo("a.jpg"), "--server", server, "--json")
    assert ended.code == 1
    assert ended.err.startswith(f"{tmp_path / 'notes.jpg'}: The body is not an image: ")
    assert json.loads(ended.out)["photo"] == str(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "missing"), "no model 'missing' is served at"),
        (("--classes", "unicorn"), "has no class 'unicorn'; it knows cat, dog, person"),
        (("--engine", "onnxruntime"), "leave this out with --server"),
    ],
)
def test_what_holds_for_every_photo_is_refused_at_once(boxwright, server, photo, options, words):
    ended = boxwright("detect", photo("a.jpg"), photo("b.jpg"), "--server", server, *options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count(words) == 1


def test_a_service_that_is_not_there_is_told_once(boxwright, photo):
    ended = boxwright("detect", photo("a.jpg"), photo("b.jpg"), "--server", "http://127.0.0.1:9")
    assert (ended.code, ended.out) == (2, "")
    assert "does not answer: Connection refused" in ended.err
    assert ended.err.count("\n") == 1


def test_a_service_that_wants_a_key_gets_it_by_option_or_variable(boxwright, start_service, model_file, photo, monkeypatch):
    key = new_key()
    service = start_service(model_file, BOXWRIGHT_KEY_HASHES=str(HashedKey.of("cli", key)))
    asked = ("detect", photo("a.jpg"), "--server", service.url, "--json")
    refused, wrong, by_option = boxwright(*asked), boxwright(*asked, "--api-key", key[:-1]), boxwright(*asked, "--api-key", key)
    monkeypatch.setenv("BOXWRIGHT_API_KEY", key)
    by_variable = boxwright(*asked)
    service.stop()
    assert (refused.code, refused.out) == (wrong.code, wrong.out) == (2, "")
    assert "A valid API key is required: This service requires an API key" in refused.err
    assert key[:-1] not in wrong.err
    assert by_option.code == by_variable.code == 0
    assert by_option.out == by_variable.out != ""
