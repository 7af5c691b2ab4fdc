"""A model file and an empty model folder."""

import pytest

from weights.formats.safetensors import save_model


@pytest.fixture
def file(tiny_model, tmp_path):
    path = tmp_path / "source" / "tiny.safetensors"
    path.parent.mkdir()
    save_model(tiny_model, path)
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "models"
    path.mkdir()
    return path
