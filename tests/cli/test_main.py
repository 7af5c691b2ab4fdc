"""The `boxwright` command: help, version, errors and exit codes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from cli import main
from cli.main import COMMANDS
from cli.options import EngineChoice
from detector.version import installed_version
from weights.engines.factory import EngineKind

ROOT = Path(__file__).resolve().parents[2]
SLOW_PACKAGES = {"numpy", "PIL", "fastapi", "uvicorn", "onnx", "onnxruntime", "safetensors", "tensorflow", "keras"}


def test_help_lists_every_command(boxwright):
    result = boxwright("--help")
    assert result.code == 0
    assert all(name in result.out for name in ("serve", "detect", "weights", "--version"))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["serve", "--help"], ["detect", "--help"], ["weights", "import", "--help"]], ids=" ".join
)
def test_help_imports_no_slow_package(arguments):
    script = "import sys\nfrom cli.main import app\ntry: app(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, check=True, text=True)
    assert "Usage" in result.stdout
    assert "typer" in result.stderr.split()
    assert not SLOW_PACKAGES & set(result.stderr.split())


@pytest.mark.parametrize(("name", "ours"), [("train", "finetune"), ("predict", "detect"), ("val", "evaluate"), ("finetun", "finetune")])
def test_wrong_command_names_the_right_one(boxwright, name, ours):
    result = boxwright(name)
    assert result.code == 2
    assert f"Did you mean '{ours}'?" in " ".join(result.err.split())


def test_version_is_printed(boxwright):
    result = boxwright("--version")
    assert (result.code, result.out) == (0, f"boxwright {installed_version()}\n")


def test_the_engine_option_has_every_engine():
    assert get_args(EngineChoice) == get_args(EngineKind)


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--model", "unknown-model"],
        ["serve", "--model", "missing.safetensors"],
        ["serve", "--model", __file__],
        ["serve", "--model", "any", "--port", "70000"],
        ["detect", __file__, "--model", "missing.safetensors"],
        ["weights", "info", "missing.safetensors"],
        ["weights", "info", __file__],
    ],
    ids=lambda arguments: " ".join(Path(argument).name for argument in arguments),
)
def test_an_error_is_reported_in_one_sentence_and_exit_code_2(boxwright, monkeypatch, arguments):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # `serve` would change this process
    result = boxwright(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("boxwright: ")
    assert result.err.count("\n") == 1
    assert len(result.err) > 40


@pytest.mark.parametrize(
    "arguments", [["detect"], ["detect", "x.jpg", "--confidence", "2"], ["serve", "--engine", "abacus"], ["fly"]], ids=" ".join
)
def test_wrong_usage_is_explained_with_exit_code_2(boxwright, arguments):
    result = boxwright(*arguments)
    assert result.code == 2
    assert "Usage" in result.err


@pytest.mark.parametrize(
    ("arguments", "suggestion"), [(["detct"], "'detect'"), (["weights", "lst"], "'list'"), (["serve", "--prot", "1"], "--port")]
)
def test_a_misspelt_command_or_option_gets_a_suggestion(boxwright, arguments, suggestion):
    result = boxwright(*arguments)
    assert result.code == 2
    assert suggestion in result.err


@pytest.mark.parametrize("arguments", [[], ["detect"], ["data", "split"], ["weights"]], ids=" ".join)
def test_h_is_short_for_help(boxwright, arguments):
    short, long = boxwright(*arguments, "-h"), boxwright(*arguments, "--help")
    assert (short.code, short.out) == (0, long.out)


@pytest.mark.parametrize("name", [*COMMANDS, "data check", "data split", "data import", "data preview", "weights pull", "models add"])
def test_help_shows_no_markup(boxwright, name):
    page = boxwright(*name.split(), "--help").out
    assert "Usage" in page
    assert not re.search(r"\[/?dim\]|\\\[", page)
    assert "[default: None]" not in page


def test_an_unexpected_missing_module_keeps_its_traceback(monkeypatch):
    def fail():
        raise ModuleNotFoundError("No module named 'unknown'", name="unknown")

    monkeypatch.setattr("cli.main.app", fail)
    with pytest.raises(ModuleNotFoundError):
        main.run()


def test_a_missing_optional_module_is_reported_in_one_sentence(boxwright, monkeypatch):
    def fail():
        raise ModuleNotFoundError("No module named 'matplotlib.axes'", name="matplotlib.axes")

    monkeypatch.setattr("cli.main.app", fail)
    result = boxwright()
    assert result.code == 2
    assert result.err.startswith("boxwright: this command needs matplotlib, which is not installed.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["keys", "new", "x"], ["detect", "docs/photos/cat.jpg", "--json"]], ids=lambda each: each[0])
def test_a_full_disk_under_standard_output_is_named(arguments):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = subprocess.run([sys.executable, "-m", "cli.main", *arguments], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "boxwright: The output cannot be written: No space left on device."


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another error for a closed pipe")
@pytest.mark.parametrize("option", [[], ["--json"]], ids=["text", "json"])
def test_a_pipe_that_its_reader_closes_ends_the_command_without_a_message(option):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "cli.main", "detect", "docs/photos/cat.jpg", "docs/photos/astronaut.jpg", *option]
    result = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such redirection")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_error(closed):
    command = f"exec {shlex.quote(sys.executable)} -m cli.main detect docs/photos/cat.jpg {closed}"
    result = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
