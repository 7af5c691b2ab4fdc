"""Optional packages: check that they are installed, and start TensorFlow without its log messages."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import typer

from detector.errors import MissingExtra

Extra = Literal["train", "ray", "openvino"]

OPTIONAL_PACKAGES: dict[str, Extra] = {
    "tensorflow": "train",
    "keras": "train",
    "tf_keras": "train",
    "tensornets": "train",
    "ai_edge_litert": "train",
    "pycocotools": "train",
    "matplotlib": "train",
    "yaml": "train",
    "ray": "ray",
    "pyarrow": "ray",
    "openvino": "openvino",
}
"""The extra that installs each optional package."""


def require_packages(purpose: str, *packages: str) -> None:
    """Check that optional packages are installed, without importing them.

    Args:
        purpose: What needs the packages; the subject of the error message.
        packages: Names of modules, keys of OPTIONAL_PACKAGES.

    Raises:
        MissingExtra: A package is not installed.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(missing_extra_message(purpose, package))


def missing_extra_message(purpose: str, package: str) -> str:
    """Return a sentence that names the missing package and the command that installs its extra."""
    extra = OPTIONAL_PACKAGES[package]
    return f"{purpose} needs {package}, which is not installed. Install the extra {extra!r}: {_install_command(extra)}"


def _install_command(extra: Extra) -> str:
    clone = Path(__file__).resolve().parents[1]
    if (clone / "pyproject.toml").is_file():
        return f"cd {clone} && {sys.executable} -m pip install -c constraints.txt -e '.[{extra}]'"
    return f"{sys.executable} -m pip install 'boxwright[{extra}]'"


def start_engine_library(engine: str | None) -> None:
    """Start TensorFlow if the engine needs it, or check that OpenVINO is installed. Raises MissingExtra."""
    if engine in ("tensorflow", "tensornets"):
        start_tensorflow(f"--engine {engine}")
    elif engine == "openvino":
        require_packages("--engine openvino", "openvino")


def start_tensorflow(purpose: str) -> None:
    """Import TensorFlow and Keras. Print one line instead of their log messages. Raises MissingExtra if they are not installed."""
    require_packages(purpose, "tensorflow", "keras")
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors reach Python as exceptions
    typer.echo("Starting TensorFlow (about 10 seconds)...", err=True)
    with _stderr_hidden():
        import_module("tensorflow")
        import_module("keras")


@contextmanager
def _stderr_hidden() -> Iterator[None]:
    """Hide what C++ code writes to file descriptor 2. Show it if the block fails, but not after Ctrl-C."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception:
            log.seek(0)
            os.write(terminal, log.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
