"""`boxwright detect --server`: the same results as with a local model."""

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


def test_results_and_files_are_those_of_a_local_model(boxwright, server, model_file, make_image, tmp_path):
    paths = [make_image("dog.jpg"), make_image("three.png", 31, 90)]
    options = ("--confidence", "0.02", "--iou", "0.3", "--classes", "dog", "--classes", "cat", "--json")
    local = boxwright("detect", *paths, *options, "--model", model_file, "--out", tmp_path / "local", "--voc", tmp_path / "local")
    remote = boxwright("detect", *paths, *options, "--server", server, "--out", tmp_path / "remote", "--voc", tmp_path / "remote")
    assert (remote.code, remote.err) == (0, "")
    assert remote.out == local.out.replace(str(tmp_path / "local"), str(tmp_path / "remote"))
    assert json.loads(remote.out.splitlines()[0])["detections"]
    files = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert files == ["dog.boxes.jpg", "dog.xml", "three.boxes.jpg", "three.xml"]
    for name in files:
        assert (tmp_path / "remote" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_an_image_that_the_service_rejects_is_named_and_the_others_are_processed(boxwright, server, make_image, tmp_path):
    (tmp_path / "notes.jpg").write_text("not an image")
    result = boxwright("detect", tmp_path / "notes.jpg", make_image("a.jpg"), "--server", server, "--json")
    assert result.code == 1
    assert result.err.startswith(f"{tmp_path / 'notes.jpg'}: This is not a supported image: ")
    assert json.loads(result.out)["photo"] == str(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "missing"), "serves no model 'missing'"),
        (("--classes", "unicorn"), "has no class 'unicorn'. Its classes are cat, dog, person"),
        (("--engine", "onnxruntime"), "cannot be combined with --server"),
    ],
)
def test_an_error_that_concerns_every_image_is_reported_once(boxwright, server, make_image, options, message):
    result = boxwright("detect", make_image("a.jpg"), make_image("b.jpg"), "--server", server, *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.count(message) == 1


def test_an_unreachable_service_is_reported_once(boxwright, make_image):
    result = boxwright("detect", make_image("a.jpg"), make_image("b.jpg"), "--server", "http://127.0.0.1:9")
    assert (result.code, result.out) == (2, "")
    assert "does not answer: Connection refused" in result.err
    assert result.err.count("\n") == 1


def test_the_api_key_comes_from_an_option_a_file_or_the_environment(
    boxwright, start_service, model_file, make_image, monkeypatch, tmp_path
):
    key = new_key()
    service = start_service(model_file, BOXWRIGHT_KEY_HASHES=str(HashedKey.of("cli", key)))
    (tmp_path / "key.txt").write_text(f"{key}\n", encoding="utf-16")  # as PowerShell redirects output
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\0")
    command = ("detect", make_image("a.jpg"), "--server", service.url, "--json")
    missing, wrong = boxwright(*command), boxwright(*command, "--api-key", key[:-1])
    by_option, by_file = boxwright(*command, "--api-key", key), boxwright(*command, "--api-key-file", tmp_path / "key.txt")
    monkeypatch.setenv("BOXWRIGHT_API_KEY", key)
    by_variable = boxwright(*command)
    binary = boxwright(*command, "--api-key-file", tmp_path / "binary.txt")
    service.stop()
    assert (binary.code, "is not a text file. It must contain the API key" in binary.err) == (2, True)
    assert (missing.code, missing.out) == (wrong.code, wrong.out) == (2, "")
    assert "requires an API key. Set BOXWRIGHT_API_KEY, or give --api-key-file FILE or --api-key KEY." in missing.err
    assert "does not accept this API key" in wrong.err
    assert key[:-1] not in wrong.err
    assert by_option.code == by_file.code == by_variable.code == 0
    assert by_option.out == by_file.out == by_variable.out != ""
