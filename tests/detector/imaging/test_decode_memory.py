"""The memory that decoding an image needs is estimated from its headers."""

import io
import struct

import pytest
from PIL import Image

from detector.imaging.image import read_image
from detector.imaging.image_files import open_image_file
from tests.detector.imaging.image_builders import ONE_SCAN, THREE_SCANS, exif_with_orientation, jpeg

MB = 2**20


def webp_with_groups(width, height):
    """Build a lossless WebP in which every block of 4 x 4 pixels has a group of five Huffman codes of one symbol each."""
    blocks = -(-width // 4) * -(-height // 4)
    groups = min(65_536, blocks)
    bits = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 4), (0, 2), (1, 1), (0, 3)]  # no transforms, no cache, several groups
    bits += [(0, 1)]  # the image of group numbers: no cache; 256 codes of 8 bits for green and red, one for blue, alpha and distance
    for rest in (24, 0):
        bits += [(0, 1), (8, 4), *[(length in (1, 11), 3) for length in range(12)], (0, 1), *[(0, 1)] * 256]
        bits += [(1, 1), (rest - 11, 7)] if rest else []
    bits += [(0b0001, 4)] * 3
    reversed_bytes = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
    for block in range(blocks):
        number = min(block, groups - 1)
        bits += [(reversed_bytes[number & 255], 8), (reversed_bytes[number >> 8], 8)]
    bits += [(0b0001, 4)] * 5 * groups
    text = "".join(f"{int(value):0{count}b}"[::-1] for value, count in bits)
    text += "0" * (-len(text) % 16)
    data = int(text[::-1], 2).to_bytes(len(text) // 8, "little")
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


@pytest.mark.parametrize(("size", "groups"), [((64, 40), 160), ((61, 37), 160), ((1030, 1030), 65_536)])
def test_the_largest_number_of_huffman_groups_of_a_lossless_webp_is_read_from_its_header(size, groups):
    data = webp_with_groups(*size)
    assert open_image_file(data).huffman_groups == groups
    if groups < 1000:
        assert not read_image(data).any()
    for options, expected in (({"lossless": False}, 0), ({"lossless": True}, groups)):
        out = io.BytesIO()
        Image.new("RGB", size).save(out, "WEBP", method=0, **options)
        assert open_image_file(out.getvalue()).huffman_groups == expected


def test_the_estimate_includes_the_coefficients_of_a_sequential_jpeg_with_several_scans():
    """The decoder keeps the coefficients of the whole image, also at reduced scale."""
    several, one = (open_image_file(jpeg(4000, 3000, scans)) for scans in (THREE_SCANS, ONE_SCAN))
    assert several.coefficient_bytes == 2 * 3 * 4000 * 3000
    assert one.coefficient_bytes == 0
    assert several.peak_bytes(416) - one.peak_bytes(416) >= several.coefficient_bytes


ROTATED = exif_with_orientation(6)
LARGE = Image.linear_gradient("L").convert("RGB").resize((3000, 2000))
LARGE_FILES = {
    "jpeg": (LARGE, "JPEG", {"progressive": True, "subsampling": 0, "exif": ROTATED}),
    "cmyk jpeg": (LARGE.convert("CMYK"), "JPEG", {"exif": ROTATED}),
    "png": (LARGE.convert("RGBA"), "PNG", {"exif": ROTATED}),
    "webp": (LARGE.convert("RGBA"), "WEBP", {"lossless": True, "method": 0, "exif": ROTATED}),
    "webp of noise": (Image.effect_noise((3000, 2000), 100).convert("RGB"), "WEBP", {"lossless": True, "method": 0, "exif": ROTATED}),
    "gif": (LARGE.quantize(16), "GIF", {"transparency": 3}),
    "bmp": (LARGE, "BMP", {}),
    "tiff": (LARGE.convert("RGBA"), "TIFF", {"compression": "tiff_adobe_deflate", "tiffinfo": {0x0112: 6, 278: 2000}}),
}


@pytest.mark.parametrize("name", LARGE_FILES)
def test_decoding_needs_no_more_memory_than_estimated(name, cost_of):
    image, form, options = LARGE_FILES[name]
    if name in ("png", "webp", "tiff"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    out = io.BytesIO()
    image.save(out, form, **options)
    data = out.getvalue()
    before = cost_of(b"empty").peak_bytes
    cost = cost_of(data)
    assert not cost.refused
    assert cost.peak_bytes - before <= len(data) + open_image_file(data).peak_bytes() + 4 * MB
