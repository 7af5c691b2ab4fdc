"""A large JPEG decoded at reduced scale: which way is up, how large it was, and that the network sees the same."""

import io

import numpy as np
import pytest
from PIL import Image

from detector.detector import Detector
from detector.engines import load_engine
from detector.imaging.image import read_image, read_reduced
from detector.spec import ModelSpec
from weights.embedded import EVERYDAY, SAMPLE_PHOTO
from weights.formats.safetensors import load_model


def large(width=1804, height=1200, form="JPEG", **options):
    """The sample photo, four times as large."""
    out = io.BytesIO()
    Image.open(SAMPLE_PHOTO).resize((width, height), Image.Resampling.BICUBIC).save(out, form, **options)
    return out.getvalue()


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.fixture(scope="module")
def everyday():
    model = load_model(EVERYDAY)
    return Detector(model.spec, load_engine(model))


@pytest.mark.parametrize(
    ("enough", "sides"), [(None, (1200, 1804)), (700, (1200, 1804)), (600, (600, 902)), (300, (300, 451)), (1, (150, 226))]
)
def test_a_jpeg_is_halved_as_long_as_enough_is_left(enough, sides):
    reduced = read_reduced(large(), enough)
    assert reduced.picture.shape == (*sides, 3)
    assert (reduced.width, reduced.height) == (1804, 1200)


@pytest.mark.parametrize("form", ["PNG", "WebP", "BMP"])
def test_other_formats_are_read_whole(form):
    assert read_reduced(large(form=form), 1).picture.shape == (1200, 1804, 3)


@pytest.mark.parametrize("value", range(1, 9))
def test_a_turned_jpeg_is_upright_and_its_size_is_the_upright_ones(value):
    data = large(exif=oriented(value))
    whole, reduced = read_image(data), read_reduced(data, 300)
    assert whole.shape[:2] == (reduced.height, reduced.width)
    height, width = reduced.picture.shape[:2]
    shrunk = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BOX))
    assert np.abs(shrunk.astype(int) - reduced.picture).mean() < 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_the_network_sees_what_it_would_see_of_the_whole(everyday, options):
    data = large(3608, 2400, **options)
    small = read_reduced(data, everyday.enough)
    assert small.picture.shape == (600, 902, 3)
    whole, reduced = everyday.prepare(read_image(data)), everyday.prepare(small)
    assert whole.placement == reduced.placement
    difference = np.abs(whole.pixels - reduced.pixels)
    assert difference.mean() < 0.5
    assert difference.max() <= 8
    (one,), (other,) = (everyday.select(everyday.network(each.pixels[None])[0], each) for each in (whole, reduced))
    assert one.class_id == other.class_id
    assert one.score == pytest.approx(other.score, abs=0.01)
    assert one.box == pytest.approx(other.box, abs=0.005 * 3608)


def test_a_model_that_was_shown_single_pixels_is_shown_them(tiny_model):
    assert isinstance(tiny_model.spec, ModelSpec)
    assert tiny_model.spec.resample == "darknet"
    assert Detector(tiny_model.spec, load_engine(tiny_model)).enough is None
