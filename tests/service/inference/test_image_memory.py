"""The division of the memory for images, and the memory that an image needs."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detector.errors import ImageTooLarge
from detector.imaging.image import decode_file, read_headers
from service.inference.image_memory import (
    DRAWING_BYTES,
    MAX_THREAD_BYTES,
    MAX_THREAD_HUFFMAN_GROUPS,
    MAX_THREAD_WEBP_PIXELS,
    MAX_THREAD_WORK,
    PILLOW_BYTES,
    ImageMemory,
    is_heavy,
    needed_bytes,
)

MIB = 2**20


@given(st.integers(MIB, 2**40), st.integers(1, 64), st.integers(1, 64), st.integers(1, 2**31))
def test_all_shares_together_never_exceed_the_limit(limit, cores, batch_size, largest):
    slots = 2 * cores + batch_size
    memory = ImageMemory.divide(limit, slots=slots, cores=cores, largest=largest)
    assert slots * memory.small_bytes + memory.large_slots * memory.large_bytes <= limit
    assert 1 <= memory.large_slots <= max(1, cores // 2)
    assert memory.large_bytes >= limit // 2 // memory.large_slots
    assert memory.large_slots == 1 or memory.large_bytes >= largest


def file_of(width, height, form="JPEG", **options):
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((width, height)).save(out, form, **options)
    return read_headers(out.getvalue())


@pytest.mark.parametrize("min_side", [None, 1, 60, 100, 150, 151, 300, 301, 600])
@pytest.mark.parametrize(("width", "height"), [(1203, 1200), (640, 1001), (61, 480), (1, 999)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_decoded_size_is_known_before_decoding(form, width, height, min_side):
    file = file_of(width, height, form)
    assert decode_file(file, min_side).pillow_image.size == file.decoded_size(min_side)


def test_decoding_at_reduced_scale_needs_less_memory_but_keeps_the_coefficients_of_a_progressive_jpeg():
    baseline, progressive = file_of(1600, 1600), file_of(1600, 1600, progressive=True, subsampling=0)
    assert needed_bytes(baseline, 200, draw=False) < needed_bytes(baseline, None, draw=False) / 20
    coefficients = 2 * 3 * 1600 * 1600
    assert coefficients < needed_bytes(progressive, 200, draw=False) < 1.2 * coefficients


def test_drawing_counts_the_decoded_and_the_drawn_image():
    reducible, large = file_of(2000, 2000), replace(file_of(16, 16, "PNG"), size=(8000, 8000))
    assert needed_bytes(reducible, 100, draw=True) == (PILLOW_BYTES + DRAWING_BYTES) * 2000 * 2000
    assert needed_bytes(large, None, draw=True) == large.peak_bytes()  # decoding needs more memory than drawing afterwards


def test_an_image_is_small_if_it_needs_little_memory_and_little_work():
    memory, file = ImageMemory(small_bytes=10 * MIB, large_bytes=100 * MIB, large_slots=1), file_of(100, 100)
    assert memory.is_small(file, 10 * MIB)
    assert not memory.is_small(file, 10 * MIB + 1)
    memory.check_large(file, 100 * MIB)
    with pytest.raises(ImageTooLarge, match="needs about 101 MiB of memory, and this service allows 100"):
        memory.check_large(file, 101 * MIB)


@pytest.mark.parametrize(
    ("size", "draw", "small"),
    [
        ((2000, 1250), "image/png", True),
        ((2000, 1251), "image/png", False),
        ((2000, 1251), "image/jpeg", True),
        ((2000, 1251), None, True),
        ((70_000, 40), "image/jpeg", False),  # too long for a JPEG
    ],
)
def test_an_image_that_is_drawn_as_a_large_png_is_not_small(size, draw, small):
    memory = ImageMemory(small_bytes=10 * MIB, large_bytes=100 * MIB, large_slots=1)
    assert memory.is_small(replace(file_of(100, 100), size=size), MIB, draw) is small


def test_an_image_is_heavy_if_it_would_block_the_other_threads():
    file = file_of(100, 100)
    assert not is_heavy(replace(file, work=MAX_THREAD_WORK), MAX_THREAD_BYTES)
    assert is_heavy(replace(file, work=MAX_THREAD_WORK + 1), 1)
    assert is_heavy(file, MAX_THREAD_BYTES + 1)
    assert is_heavy(replace(file_of(100, 100, "WEBP"), huffman_groups=MAX_THREAD_HUFFMAN_GROUPS + 1), 1)
    assert not is_heavy(replace(file_of(100, 100, "WEBP"), huffman_groups=MAX_THREAD_HUFFMAN_GROUPS), 1)
    webp = replace(file_of(100, 100, "WEBP"), size=(1, MAX_THREAD_WEBP_PIXELS))
    assert not is_heavy(webp, 1)
    assert is_heavy(replace(webp, size=(1, MAX_THREAD_WEBP_PIXELS + 1)), 1)
    with pytest.raises(ImageTooLarge, match="about 65 MiB"):
        ImageMemory(1, 64 * MIB, 1).check_large(replace(file, work=MAX_THREAD_WORK + 1), MIB)
    assert not ImageMemory(2**40, 2**40, 1).is_small(replace(file, work=MAX_THREAD_WORK + 1), 1)
