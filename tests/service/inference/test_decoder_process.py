"""Images decoded in a child process: equal to those decoded in a thread, and isolated from the service."""

import io
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from detector.boxes.placement import Placement
from detector.errors import DamagedImage
from detector.imaging.draw import MAX_DRAWN_PIXELS
from detector.imaging.image import decode_file, read_headers
from service.inference import decoder_process
from service.inference.decoder_process import Cancellation, DecodeTask, decode_in_process

MEMORY = 2**28
ROTATED = Image.Exif()
ROTATED[0x0112] = 6


def file_of(form, width=300, height=200, **options):
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(out, form, exif=ROTATED, **options)
    return read_headers(out.getvalue())


@pytest.mark.parametrize(("form", "min_side"), [("WEBP", None), ("JPEG", None), ("JPEG", 100)])
def test_the_result_equals_that_of_a_thread(tiny_model, form, min_side):
    file = file_of(form)
    prepared, image = decode_in_process(DecodeTask(file, tiny_model.spec, min_side, draw=True, memory_bytes=MEMORY), Cancellation())
    expected = decode_file(file, min_side)
    assert prepared.placement == Placement.of(tiny_model.spec, 200, 300)
    np.testing.assert_array_equal(prepared.pixels, prepared.placement.apply(expected.pillow_image))
    assert (image.width, image.height) == (200, 300)
    np.testing.assert_array_equal(image.array, decode_file(file).array)


def test_the_image_to_draw_on_is_at_most_as_large_as_the_drawn_image(tiny_model):
    out = io.BytesIO()
    Image.new("RGB", (5000, 4000)).save(out, "PNG", compress_level=1)
    file = read_headers(out.getvalue())
    prepared, image = decode_in_process(DecodeTask(file, tiny_model.spec, None, draw=True, memory_bytes=MEMORY), Cancellation())
    assert (prepared.placement.width, prepared.placement.height) == (image.width, image.height) == (5000, 4000)
    assert image.pillow_image.width * image.pillow_image.height <= MAX_DRAWN_PIXELS
    assert decode_in_process(DecodeTask(file, tiny_model.spec, None, draw=False, memory_bytes=MEMORY), Cancellation())[1] is None


def test_a_damaged_image_gets_the_same_error_as_in_a_thread(tiny_model):
    file = file_of("JPEG")
    damaged = replace(file, image_bytes=file.image_bytes[:2000] + file.image_bytes[-2:])
    with pytest.raises(DamagedImage) as expected:
        decode_file(damaged)
    with pytest.raises(DamagedImage) as error:
        decode_in_process(DecodeTask(damaged, tiny_model.spec, None, draw=False, memory_bytes=MEMORY), Cancellation())
    assert str(error.value) == str(expected.value)


@pytest.mark.parametrize(
    "child",
    [
        "import os, sys; sys.stdin.buffer.read(); os.abort()",
        "",
        "import sys; sys.stdin.buffer.read(); print('no JSON')",
        "import sys; sys.stdin.buffer.read(); print('{\"width\": 1000000, \"height\": 1}'); print('x' * 100000)",
        'import sys; sys.stdin.buffer.read(); print(\'{"error": "SystemExit", "message": "forged"}\')',
    ],
)
def test_a_failing_child_process_fails_only_its_image(tiny_model, monkeypatch, child):
    monkeypatch.setattr(decoder_process, "COMMAND", child)
    with pytest.raises(DamagedImage):
        decode_in_process(DecodeTask(file_of("JPEG"), tiny_model.spec, None, draw=True, memory_bytes=MEMORY), Cancellation())


def test_a_cancelled_process_ends_at_once_and_logs_nothing(tiny_model, monkeypatch, caplog):
    monkeypatch.setattr(decoder_process, "COMMAND", "import sys, time; sys.stdin.buffer.read(); time.sleep(600)")
    cancellation, errors = Cancellation(), []

    def decode():
        try:
            decode_in_process(DecodeTask(file_of("JPEG"), tiny_model.spec, None, draw=False, memory_bytes=MEMORY), cancellation)
        except DamagedImage as error:
            errors.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    cancellation.cancel()
    thread.join(timeout=60)
    assert len(errors) == 1
    assert not caplog.records


@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit needs /proc")
def test_a_decoder_that_needs_far_more_memory_than_the_image_is_stopped(tiny_model, caplog):
    """A file can contain tables that are larger than its pixels. The limit is below what this image needs."""
    out = io.BytesIO()
    Image.new("RGB", (6000, 6000)).save(out, "PNG", compress_level=1)
    task = DecodeTask(read_headers(out.getvalue()), tiny_model.spec, None, draw=False, memory_bytes=-(2**26))
    with pytest.raises(DamagedImage, match="cannot be decoded within the limits"):
        decode_in_process(task, Cancellation())
    assert "the child process for a PNG ended with exit code" in caplog.text
    prepared, _ = decode_in_process(replace(task, memory_bytes=MEMORY), Cancellation())
    assert (prepared.placement.width, prepared.placement.height) == (6000, 6000)
