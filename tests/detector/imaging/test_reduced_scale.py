"""JPEGs decoded at reduced scale: orientation, full size, and equal detections."""

import io

import numpy as np
import pytest
from PIL import Image

from detector.detector import Detector
from detector.engines import load_engine
from detector.imaging.image import decode_image, read_image
from tests.detector.imaging.image_builders import exif_with_orientation
from weights.embedded import EVERYDAY, SAMPLE_IMAGE
from weights.formats.safetensors import load_model


def large_file(width=1804, height=1200, form="JPEG", **options):
    """Encode the sample image at four times its size."""
    out = io.BytesIO()
    Image.open(SAMPLE_IMAGE).resize((width, height), Image.Resampling.BICUBIC).save(out, form, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def everyday_detector():
    model = load_model(EVERYDAY)
    return Detector(model.spec, load_engine(model))


@pytest.mark.parametrize(
    ("min_side", "sides"), [(None, (1200, 1804)), (700, (1200, 1804)), (600, (600, 902)), (300, (300, 451)), (1, (150, 226))]
)
def test_a_jpeg_is_halved_while_both_sides_keep_the_minimum(min_side, sides):
    reduced = decode_image(large_file(), min_side)
    assert reduced.array.shape == (*sides, 3)
    assert (reduced.width, reduced.height) == (1804, 1200)


@pytest.mark.parametrize("form", ["PNG", "WebP", "BMP"])
def test_other_formats_are_decoded_at_full_scale(form):
    assert decode_image(large_file(form=form), 1).array.shape == (1200, 1804, 3)


@pytest.mark.parametrize("value", range(1, 9))
def test_a_rotated_jpeg_is_upright_and_has_the_upright_size(value):
    data = large_file(exif=exif_with_orientation(value))
    full, reduced = read_image(data), decode_image(data, 300)
    assert full.shape[:2] == (reduced.height, reduced.width)
    height, width = reduced.array.shape[:2]
    shrunk = np.asarray(Image.fromarray(full).resize((width, height), Image.Resampling.BOX))
    assert np.abs(shrunk.astype(int) - reduced.array).mean() < 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_reduced_decoding_gives_nearly_equal_network_pixels_and_detections(everyday_detector, options):
    data = large_file(4024, 2680, **options)
    reduced_image = decode_image(data, everyday_detector.min_decode_side)
    assert reduced_image.array.shape == (670, 1006, 3)
    full, reduced = everyday_detector.preprocess(read_image(data)), everyday_detector.preprocess(reduced_image)
    assert full.placement == reduced.placement
    difference = np.abs(full.pixels - reduced.pixels)
    assert difference.mean() < 0.5
    assert difference.max() <= 8
    (expected,), (detected,) = (
        everyday_detector.postprocess(everyday_detector.forward(prepared.pixels[None])[0], prepared) for prepared in (full, reduced)
    )
    assert detected.class_id == expected.class_id
    assert detected.score == pytest.approx(expected.score, abs=0.01)
    assert detected.box == pytest.approx(expected.box, abs=0.005 * 4024)


def test_a_model_without_antialiasing_requires_full_scale(tiny_model):
    assert tiny_model.spec.resample == "darknet"
    assert Detector(tiny_model.spec, load_engine(tiny_model)).min_decode_side is None
