"""`boxwright export`: what it writes, and the parity that it prints."""

import re

import pytest

from weights.formats.export import FORMATS
from weights.formats.safetensors import save_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # TensorFlow's

PARITY = re.compile(
    r"(.*): the raw output is within (\S+) of the model's\n"
    r"on a photo of a cat \(its largest value is (\S+)\)\.\n"
    r"(This model wants .*\n)?"
)


@pytest.fixture
def here(tmp_path, tiny_model, monkeypatch):
    """A folder to stand in, with a model file."""
    save_model(tiny_model, tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", [target for target in FORMATS if target != "safetensors"])
def test_after_each_export_the_largest_difference_on_a_photo_is_printed(boxwright, here, target):
    ended = boxwright("export", "mine.safetensors", "--to", target)
    assert ended.code == 0, ended.err
    written = [f"mine{suffix}" for suffix in FORMATS[target].suffix]
    assert all((here / name).exists() for name in written)
    said = PARITY.fullmatch(ended.out)
    assert set(said[1].split(", ")) == set(written)
    assert 0 <= float(said[2]) <= 1e-3
    assert float(said[3]) > 0.5
    assert bool(said[4]) == (target == "darknet")


def test_an_export_to_our_own_format_wants_a_name_of_its_own(boxwright, here, photo):
    before = (here / "mine.safetensors").read_bytes()
    assert boxwright("export", "mine.safetensors", "--to", "safetensors").code == 2
    ended = boxwright("export", "mine.safetensors", "--to", "safetensors", "--out", "copy.safetensors", "--photo", photo("a.png"))
    assert f"within 0.0e+00 of the model's\non {here / 'a.png'} (" in ended.out
    assert (here / "copy.safetensors").read_bytes() == before == (here / "mine.safetensors").read_bytes()


def test_of_a_photo_that_is_none_nothing_is_written(boxwright, here):
    (here / "photo.jpg").write_text("no photo")
    ended = boxwright("export", "mine.safetensors", "--to", "onnx", "--photo", "photo.jpg")
    assert ended.code == 2
    assert "the image format is unknown" in ended.err
    assert not (here / "mine.onnx").exists()


@pytest.mark.usefixtures("here")
def test_what_a_cfg_cannot_say_of_the_model_is_told(boxwright):
    assert "a .cfg cannot say that" in boxwright("export", "everyday", "--to", "darknet").out
    assert "This model wants" not in boxwright("export", "mine.safetensors", "--to", "onnx").out
