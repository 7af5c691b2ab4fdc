"""Fixtures for the tests of the deployment files."""

import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from cli.main import app as command_line
from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CACHE_VARIABLES = {"BOXWRIGHT_HOME", "BOXWRIGHT_MIRROR", "BOXWRIGHT_OFFLINE", "BOXWRIGHT_CONFIG"}


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def project():
    """The [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="session")
def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def parse():
    """Function (arguments of `boxwright`) -> parameter values of the subcommand. It fails if the arguments are invalid."""

    def parse_arguments(arguments):
        command, arguments = typer.main.get_command(command_line), list(arguments)
        while hasattr(command, "commands"):
            command, arguments = command.commands[arguments[0]], arguments[1:]
        with pytest.MonkeyPatch.context() as patch:
            for parameter in command.params:
                patch.setattr(parameter.type_descriptor.parameter_info, "exists", False, raising=False)  # paths inside the container
            return command.make_context(command.name, arguments).params

    return parse_arguments


@pytest.fixture(scope="session")
def known_variables():
    """All BOXWRIGHT_ environment variables that the code reads."""
    return CACHE_VARIABLES | {f"BOXWRIGHT_{name.upper()}" for name in Settings.model_fields}


@pytest.fixture(scope="session")
def app(tiny_model):
    return create_app(Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings())
