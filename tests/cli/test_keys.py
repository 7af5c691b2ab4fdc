"""`boxwright keys`: a key that the service knows by the hash that goes with it."""

import json

import pytest

from service.auth.api_keys import HashedKey, key_name


def test_a_new_key_and_its_hash_belong_together(boxwright):
    ended = boxwright("keys", "new", "frigate", "--json")
    made = json.loads(ended.out)
    assert key_name([HashedKey.read(made["hash"])], made["key"].encode()) == made["name"] == "frigate"


def test_people_are_told_which_is_which(boxwright):
    lines = boxwright("keys", "new", "porch").out.splitlines()
    key, (variable, _, entry) = lines[1].strip(), lines[3].strip().partition("=")
    assert variable == "BOXWRIGHT_KEY_HASHES"
    assert key_name([HashedKey.read(entry)], key.encode()) == "porch"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65, "é"])
def test_a_name_that_a_log_could_not_show_is_refused(boxwright, name):
    ended = boxwright("keys", "new", name)
    assert (ended.code, ended.out) == (2, "")
    assert "a key's name is" in ended.err
