"""`boxwright keys`: a new API key and its hash."""

import json

import pytest

from service.auth.api_keys import HashedKey, key_name


def test_the_hash_of_a_new_key_identifies_its_owner(boxwright):
    result = boxwright("keys", "new", "frigate", "--json")
    output = json.loads(result.out)
    assert key_name([HashedKey.read(output["hash"])], output["key"].encode()) == output["name"] == "frigate"


def test_the_text_output_has_the_key_and_the_setting_for_the_service(boxwright):
    lines = boxwright("keys", "new", "porch").out.splitlines()
    key, (variable, _, entry) = lines[1].strip(), lines[3].strip().partition("=")
    assert variable == "BOXWRIGHT_KEY_HASHES"
    assert key_name([HashedKey.read(entry)], key.encode()) == "porch"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65, "é"])
def test_a_name_with_invalid_characters_is_an_error(boxwright, name):
    result = boxwright("keys", "new", name)
    assert (result.code, result.out) == (2, "")
    assert "the name of a key must be" in result.err
