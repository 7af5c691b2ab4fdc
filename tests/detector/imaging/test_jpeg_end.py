"""A JPEG that lacks only its end marker is read. A JPEG that lacks pixels is refused, whatever bytes follow."""

import io

import numpy as np
import pytest
from PIL import Image

from detector.errors import DamagedImage
from detector.imaging.image import decode_image, read_image

END = b"\xff\xd9"
PADDING = {
    "nothing": b"",
    "eight zeros": bytes(8),
    "many zeros": bytes(5000),
    "ff bytes": b"\xff" * 100,
    "spaces": b" " * 99,
    "a line break": b"\r\n",
    "text": b"Content truncated by proxy",
}


def noise_jpeg(**options):
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8)).resize((200, 150)).save(out, "JPEG", **options)
    return out.getvalue()


KINDS = {
    "baseline": noise_jpeg(),
    "optimised": noise_jpeg(optimize=True),
    "4:4:4": noise_jpeg(subsampling=0, quality=95),
    "progressive": noise_jpeg(progressive=True),
    "restarts": noise_jpeg(restart_marker_rows=1),
}


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_its_end_marker_is_read(kind, padding):
    data = KINDS[kind]
    assert data.endswith(END)
    np.testing.assert_array_equal(read_image(data[:-2] + PADDING[padding]), read_image(data))


@pytest.mark.parametrize("padding", [*PADDING, "end marker", "zeros and end marker"])
@pytest.mark.parametrize("missing", [0.05, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_jpeg_is_refused(kind, missing, padding):
    if kind == "progressive" and "end marker" in padding:
        pytest.skip("a progressive JPEG may end after any scan")
    body = KINDS[kind][: int(len(KINDS[kind]) * (1 - missing))]
    end = {"end marker": END, "zeros and end marker": bytes(50) + END}
    with pytest.raises(DamagedImage, match=r"truncated|ends within its header"):
        read_image(body + (PADDING | end)[padding])


def test_a_truncated_jpeg_is_refused_at_reduced_scale():
    out = io.BytesIO()
    Image.open(io.BytesIO(KINDS["baseline"])).resize((1600, 1200)).save(out, "JPEG")
    data = out.getvalue()
    assert decode_image(data[:-2], 150).pillow_image.size == (200, 150)
    for end in (b"", bytes(100), END):
        with pytest.raises(DamagedImage, match="truncated"):
            decode_image(data[: len(data) // 2] + end, 150)


@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_an_image_with_a_bottom_third_of_one_colour_is_read(colour):
    image = Image.open(io.BytesIO(KINDS["baseline"]))
    image.paste(colour, (0, 100, 200, 150))
    for options in ({}, {"progressive": True}):
        out = io.BytesIO()
        image.save(out, "JPEG", **options)
        np.testing.assert_array_equal(read_image(out.getvalue()), np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("RGB")))


def test_bytes_after_the_end_marker_are_ignored():
    data = KINDS["baseline"]
    np.testing.assert_array_equal(read_image(data + b"\xff\xda junk" * 100 + KINDS["progressive"]), read_image(data))


def test_the_reported_jpeg_without_end_marker_is_read(shared):
    case = shared / "cases" / "22-jpeg-without-eoi" / "trunc-noeoi.jpg"
    if not case.is_file():
        pytest.skip(f"needs {case}")
    data = case.read_bytes()
    np.testing.assert_array_equal(read_image(data), read_image(data + END))
    for end in (b"", bytes(8), END):
        with pytest.raises(DamagedImage, match="truncated"):
            read_image(data[: len(data) // 2] + end)
