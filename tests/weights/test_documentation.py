"""docs/weights.md documents every environment variable, catalogue entry, command and format."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands.weights import weights_app
from cli.main import app as boxwright
from weights.formats.export import EXPORTERS
from weights.hub.catalogue import entries

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "weights").rglob("*.py"))


@pytest.mark.parametrize("variable", sorted(set(re.findall(r'"(BOXWRIGHT_[A-Z]+)"', SOURCE))))
def test_every_variable_is_documented(variable):
    assert f"| `{variable}` |" in TEXT


def test_the_known_environment_variables_are_found_in_the_code():
    assert {"BOXWRIGHT_HOME", "BOXWRIGHT_MIRROR", "BOXWRIGHT_OFFLINE"} <= set(re.findall(r"BOXWRIGHT_[A-Z]+", SOURCE))


@pytest.mark.parametrize("name", entries())
def test_every_entry_of_the_catalogue_is_documented(name):
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("target", EXPORTERS)
def test_every_format_is_documented(target):
    assert f"| `{target}` |" in TEXT


def test_every_command_is_documented():
    commands = {command.name or command.callback.__name__ for command in weights_app.registered_commands}
    assert {"pull", "verify"} <= commands
    for command in commands:
        assert f"boxwright weights {command.rstrip('_')}" in TEXT


COMMANDS = [line.strip().partition("  ")[0] for line in TEXT.splitlines() if re.match(r"    (\w+=\S+ )*boxwright ", line)]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_documented_option_exists(line, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    arguments = shlex.split(re.sub(r"^(\w+=\S+ )*boxwright ", "", line))
    names = arguments[: 2 if arguments[0] == "weights" else 1]
    help_page = CliRunner().invoke(boxwright, [*names, "--help"])
    assert help_page.exit_code == 0, line
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert f"{option} " in help_page.output, line


def test_pull_import_evaluate_and_detect_are_shown():
    assert len(COMMANDS) >= 7
    assert {"pull", "import", "evaluate", "detect"} <= {word for line in COMMANDS for word in line.split()}
