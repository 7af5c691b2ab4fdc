"""docs/weights.md names every variable, catalogue entry, command and format that there is."""

import re
from pathlib import Path

import pytest

from cli.weights import app
from weights.catalogue import entries
from weights.export import FORMATS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "weights").glob("*.py"))


@pytest.mark.parametrize("variable", sorted(set(re.findall(r'"(BOXWRIGHT_[A-Z]+)"', SOURCE))))
def test_every_variable_is_documented(variable):
    assert f"| `{variable}` |" in TEXT


def test_there_are_variables():
    assert {"BOXWRIGHT_HOME", "BOXWRIGHT_MIRROR", "BOXWRIGHT_OFFLINE"} <= set(re.findall(r"BOXWRIGHT_[A-Z]+", SOURCE))


@pytest.mark.parametrize("name", entries())
def test_every_entry_of_the_catalogue_is_documented(name):
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("target", FORMATS)
def test_every_format_is_documented(target):
    assert f"| `{target}` |" in TEXT


def test_every_command_is_documented():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {"pull", "verify"} <= commands
    for command in commands:
        assert f"boxwright weights {command.rstrip('_')}" in TEXT
