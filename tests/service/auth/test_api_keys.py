"""API keys and their hashes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import SettingError
from service.auth.api_keys import HashedKey, key_name, new_key
from service.settings import read_settings


def test_new_keys_are_long_and_unique():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {46}


@given(name=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), key=st.text())
def test_a_hash_is_read_back_and_matches_only_its_key(name, key):
    hashed = HashedKey.read(str(HashedKey.of(name, key)))
    assert str(hashed) == str(HashedKey.of(name, key))
    assert key_name([HashedKey.of("first", "x" + key), hashed, HashedKey.of("last", key + "x")], key.encode()) == name
    assert key_name([hashed], (key + "y").encode()) is None


def test_several_keys_are_read_from_a_file_or_the_environment(monkeypatch, tmp_path):
    entries = [str(HashedKey.of(name, new_key())) for name in ("old", "new")]
    file = tmp_path / "boxwright.toml"
    file.write_text(f"key_hashes = {json.dumps(entries)}\n", encoding="utf-8")
    assert read_settings(file).key_hashes == entries
    for separator in (",", " ", "\n", ", \n"):
        monkeypatch.setenv("BOXWRIGHT_KEY_HASHES", separator.join(entries) + "\n")
        assert read_settings().key_hashes == entries


@pytest.mark.parametrize(
    "value", ["frigate:hush-hush-hush", "hush-hush-hush", ":" + "0" * 64, "a:" + "0" * 63, [5, "hush-hush-hush"], " ", {"a": "hush"}]
)
def test_an_invalid_hash_is_refused_and_not_repeated(value):
    with pytest.raises(SettingError, match="BOXWRIGHT_KEY_HASHES") as error:
        read_settings(key_hashes=value)
    assert "hush" not in str(error.value)
    assert "hush" not in repr(error.value.__cause__)
