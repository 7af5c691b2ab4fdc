"""The command itself: help, version, and how refusals end."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from cli.options import Engine
from service.version import installed_version
from weights.engines.factory import EngineKind

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"numpy", "PIL", "fastapi", "uvicorn", "onnx", "onnxruntime", "safetensors", "tensorflow", "keras"}


def test_help_names_every_command(boxwright):
    ended = boxwright("--help")
    assert ended.code == 0
    assert all(name in ended.out for name in ("serve", "detect", "weights", "--version"))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["serve", "--help"], ["detect", "--help"], ["weights", "import", "--help"]], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments):
    script = "import sys\nfrom cli.main import app\ntry: app(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, check=True, text=True)
    assert "Usage" in ended.stdout
    assert "typer" in ended.stderr.split()
    assert not HEAVY & set(ended.stderr.split())


def test_version_is_printed(boxwright):
    ended = boxwright("--version")
    assert (ended.code, ended.out) == (0, f"boxwright {installed_version()}\n")


def test_the_engines_offered_are_the_detector_s():
    assert get_args(Engine) == get_args(EngineKind)


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--model", "nothing-of-that-name"],
        ["serve", "--model", "missing.safetensors"],
        ["serve", "--model", __file__],
        ["serve", "--model", "any", "--port", "70000"],
        ["detect", __file__, "--model", "missing.safetensors"],
        ["weights", "info", "missing.safetensors"],
        ["weights", "info", __file__],
    ],
    ids=lambda arguments: " ".join(Path(argument).name for argument in arguments),
)
def test_a_refusal_is_one_sentence_and_exit_code_two(boxwright, monkeypatch, arguments):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # `serve` would change this process
    ended = boxwright(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("boxwright: ")
    assert ended.err.count("\n") == 1
    assert len(ended.err) > 40


@pytest.mark.parametrize(
    "arguments", [["detect"], ["detect", "x.jpg", "--confidence", "2"], ["serve", "--engine", "abacus"], ["fly"]], ids=" ".join
)
def test_a_wrong_usage_is_explained_with_exit_code_two(boxwright, arguments):
    ended = boxwright(*arguments)
    assert ended.code == 2
    assert "Usage" in ended.err
