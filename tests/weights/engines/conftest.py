"""Fixtures for the tests of the engine cache."""

import pytest

from weights.engines import factory


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache that accepts engines of small models too."""
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BOXWRIGHT_ENGINES", raising=False)
    monkeypatch.setattr(factory, "MIN_CACHED_FILE_BYTES", 0)
    return tmp_path / "home" / "engines"
