"""Decoding of image files to RGB arrays: formats, pixel modes, transparency and orientation."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from detector.errors import ImageTooLarge, NotAnImage, SettingError
from detector.imaging.image import MAX_PIXELS, PILLOW_MAX_PIXELS, read_image
from tests.detector.imaging.image_builders import encode, exif_with_orientation, gradient

LOSSLESS = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "webp": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff packbits": ("TIFF", {"compression": "packbits"}),
    "tiff tiled": ("TIFF", {"compression": "tiff_lzw", "tiffinfo": {322: 16, 323: 16}}),
}


@pytest.mark.parametrize("size", [(24, 17), (1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("form", LOSSLESS)
def test_a_lossless_image_is_read_unchanged(form, size):
    name, options = LOSSLESS[form]
    image = gradient(*size)
    decoded = read_image(encode(image, name, **options))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, image)


@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))))
def test_reading_is_the_inverse_of_writing_a_png(image):
    np.testing.assert_array_equal(read_image(encode(image, "PNG")), image)


@pytest.mark.parametrize("name", ["cat.png", "dog.jpg", "eagle.jpg", "giraffe.jpg", "horses.jpg", "kite.jpg", "person.jpg"])
def test_real_images_are_read_as_pillow_reads_them(shared, name):
    path = shared / "photos" / name
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path.read_bytes()), np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


FIRST, SECOND = gradient(), gradient()[::-1].copy()
MULTI_IMAGE = {
    "GIF": encode(
        Image.fromarray(FIRST).quantize(16), "GIF", save_all=True, append_images=[Image.fromarray(SECOND).quantize(16)], comment=b"!"
    ),
    "WEBP": encode(FIRST, "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(SECOND)]),
    "PNG": encode(FIRST, "PNG", save_all=True, append_images=[Image.fromarray(SECOND)]),
    "TIFF": encode(FIRST, "TIFF", save_all=True, append_images=[Image.fromarray(SECOND)]),
    "MPO": encode(FIRST, "MPO", quality=95, subsampling=0, save_all=True, append_images=[Image.fromarray(SECOND)]),
}


@pytest.mark.parametrize("form", MULTI_IMAGE)
def test_the_first_image_of_a_multi_image_file_is_read(form):
    decoded = read_image(MULTI_IMAGE[form]).astype(int)
    assert 3 * np.abs(decoded - FIRST).mean() < np.abs(decoded - SECOND).mean()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_of_any_colour_space_is_read_as_pillow_reads_it(mode, options):
    data = encode(Image.fromarray(gradient()).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(read_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_pixel_modes_become_rgb(mode):
    image = Image.fromarray(gradient()).convert(mode)
    data = encode(image, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    np.testing.assert_array_equal(read_image(data), np.asarray(image.convert("RGB")))


GREY16 = np.array([[0x0000, 0x00FF, 0x0100], [0x1234, 0xFEFF, 0xFFFF]], np.uint16)
HIGH_BYTES = np.array([[0, 0, 1], [0x12, 0xFE, 0xFF]])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bit_values_keep_their_upper_eight_bits(form, mode):
    image = Image.frombytes(mode, (3, 2), GREY16.astype("<u2" if mode == "I;16" else ">u2").tobytes())
    np.testing.assert_array_equal(read_image(encode(image, form)), np.repeat(HIGH_BYTES[..., None], 3, axis=2))


CLEAR, HALF, SOLID = (10, 20, 30, 0), (0, 0, 0, 128), (40, 50, 60, 255)


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_transparent_pixels_are_blended_with_white(form, options):
    image = Image.fromarray(np.array([[CLEAR, HALF, SOLID]], np.uint8))
    assert read_image(encode(image, form, **options)).tolist() == [[[255, 255, 255], [127, 127, 127], [40, 50, 60]]]


@pytest.mark.parametrize(
    ("pixels", "mode", "transparency", "expected"),
    [
        ([[[9, 255], [9, 0]]], "LA", None, [9] * 3),
        ([[9, 8]], "L", 8, [9] * 3),
        ([[0x1235, 0x1234]], "I;16", 0x1234, [0x12] * 3),
        ([[[7, 8, 8], [7, 8, 9]]], "RGB", (7, 8, 9), [7, 8, 8]),
        ([[[7, 8, 8], [7, 8, 9]]], "P", b"\xff\x00", [7, 8, 8]),
        ([[[7, 8, 8], [7, 8, 9]]], "P", 1, [7, 8, 8]),
    ],
)
def test_png_transparency_of_any_kind_is_blended_with_white(pixels, mode, transparency, expected):
    image = Image.fromarray(np.array(pixels, np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image = Image.frombytes("P", (2, 1), b"\0\1")
        image.putpalette(bytes(np.array(pixels, np.uint8)))
    options = {} if transparency is None else {"transparency": transparency}
    assert image.mode == mode
    assert read_image(encode(image, "PNG", **options)).tolist() == [[expected, [255, 255, 255]]]


def test_gif_transparency_is_blended_with_white():
    gif = encode(np.array([[0, 1]], np.uint8), "GIF", transparency=1)
    assert read_image(gif).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_an_opaque_alpha_channel_changes_nothing():
    image = Image.fromarray(gradient())
    image.putalpha(255)
    np.testing.assert_array_equal(read_image(encode(image, "PNG")), gradient())


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
    0: lambda a: a,  # not a valid orientation
    9: lambda a: a,
}


@pytest.mark.parametrize("value", UPRIGHT)
def test_the_exif_orientation_is_applied(value):
    stored = gradient(5, 3)
    for data in (
        encode(stored, "PNG", exif=exif_with_orientation(value)),
        encode(stored, "WEBP", lossless=True, exif=exif_with_orientation(value)),
        encode(stored, "TIFF", tiffinfo={0x0112: value}),
    ):
        np.testing.assert_array_equal(read_image(data), UPRIGHT[value](stored))
    upright, rotated = encode(stored, "JPEG"), encode(stored, "JPEG", exif=exif_with_orientation(value))
    np.testing.assert_array_equal(read_image(rotated), UPRIGHT[value](read_image(upright)))


def test_the_orientation_of_a_compressed_tiff_is_applied():
    data = encode(gradient(), "TIFF", tiffinfo={0x0112: 6}, compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(data), np.rot90(gradient(), -1))


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_unsupported_pixel_modes_are_refused(mode):
    with pytest.raises(NotAnImage, match=rf"the TIFF .*\(Pillow's mode {mode}\)\. Save it as 8-bit RGB\."):
        read_image(encode(Image.new(mode, (4, 3)), "TIFF"))


def test_an_image_of_exactly_max_pixels_is_read():
    data = encode(gradient(24, 17), "PNG")
    assert read_image(data, max_pixels=24 * 17).shape == (17, 24, 3)
    with pytest.raises(ImageTooLarge, match=r"claims 24 x 17 pixels; the limit is 407 in total"):
        read_image(data, max_pixels=24 * 17 - 1)


@pytest.mark.parametrize("limit", [0, -1, PILLOW_MAX_PIXELS + 1])
def test_max_pixels_outside_pillows_range_is_refused(limit):
    assert MAX_PIXELS <= PILLOW_MAX_PIXELS
    with pytest.raises(SettingError, match="max_pixels"):
        read_image(encode(gradient(), "PNG"), max_pixels=limit)
