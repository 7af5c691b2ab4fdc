"""The command, run in this process: what it prints and its exit code."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from cli import main
from weights.formats.safetensors import save_model


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def boxwright(monkeypatch, capfd):
    """(arguments) -> exit code, standard output and standard error of `boxwright ARGUMENTS`."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["boxwright", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capfd.readouterr()
        return Ended(ended.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def model_file(tiny_model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


@pytest.fixture
def photo(tmp_path):
    """(name) -> the path of a colourful picture of 80 x 50 pixels."""

    def make(name, width=80, height=50):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(file, {"jpg": "JPEG", "png": "PNG"}[path.suffix[1:]])
        path.write_bytes(file.getvalue())
        return path

    return make
