"""A snapshot keeps the content of a model file."""

import os

import pytest

from detector.errors import ModelError, ModelFileError
from tests.weights.repository.model_folders import truncate
from weights.formats.safetensors import load_model
from weights.repository.snapshot import snapshot


def test_a_snapshot_keeps_its_content_when_the_file_changes(file):
    before = file.read_bytes()
    with snapshot(file) as copy:
        file.write_bytes(b"")
        assert copy.read_bytes() == before
        assert load_model(copy, display_path=file).name == "tiny-random"


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_only_a_regular_file_can_have_a_snapshot(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ModelFileError, match=str(path)), snapshot(path):
        pass


def test_errors_about_a_snapshot_name_the_original_file(file):
    truncate(file)
    with snapshot(file) as copy, pytest.raises(ModelError, match=str(file)):
        load_model(copy, display_path=file)
