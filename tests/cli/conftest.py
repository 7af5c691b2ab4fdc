"""Fixtures for tests of the command line."""

import io
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from cli import main
from weights.formats.safetensors import save_model


@dataclass
class CommandResult:
    code: int
    out: str
    err: str

    @property
    def rows(self):
        """The cells of tab-separated lines on standard output."""
        return [line.split("\t") for line in self.out.splitlines()]


@pytest.fixture
def boxwright(monkeypatch, capfd):
    """(arguments) -> exit code and output of `boxwright ARGUMENTS`, run in this process."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["boxwright", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capfd.readouterr()
        return CommandResult(ended.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def model_file(tiny_model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


@pytest.fixture
def make_image(tmp_path):
    """(name, width, height) -> the path of a file with random pixels."""

    def make(name, width=80, height=50):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(file, {"jpg": "JPEG", "png": "PNG"}[path.suffix[1:]])
        path.write_bytes(file.getvalue())
        return path

    return make


OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


@pytest.fixture
def make_flat_dataset(tmp_path, make_image):
    """({name: objects}) -> a folder of images of 80 x 50 pixels with .xml files next to them, as LabelImg writes them."""

    def make(samples):
        for number, (name, objects) in enumerate(samples.items()):
            path = make_image(f"flat/{name}.png", 80, 50)
            path.write_bytes(path.read_bytes() + bytes([number]))  # a byte after the image data makes files with equal pixels differ
            size = "<size><width>80</width><height>50</height></size>"
            path.with_suffix(".xml").write_text(f"<annotation>{size}{''.join(OBJECT.format(*values) for values in objects)}</annotation>")
        return tmp_path / "flat"

    return make


@pytest.fixture
def hide_packages(monkeypatch):
    """(names) -> make importing these packages fail."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide
