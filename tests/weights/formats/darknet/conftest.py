"""Where tests write a .cfg and its .weights file."""

import pytest


@pytest.fixture
def files(tmp_path):
    return tmp_path / "a.cfg", tmp_path / "a.weights"
