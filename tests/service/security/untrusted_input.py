"""Mutated images and forms. The number is the seed: the same number gives the same input in every run."""

import io
import random
from functools import cache

from PIL import Image

FORMS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
VARIANTS = (
    {"JPEG": {"quality": 40}, "TIFF": {"compression": "raw"}},
    {"JPEG": {"progressive": True}, "PNG": {"optimize": True}, "WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"}},
    {"TIFF": {"compression": "jpeg"}, "WEBP": {"method": 0}},
    {"TIFF": {"compression": "tiff_adobe_deflate"}},
)
MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P", "I;16", "1"), "GIF": ("P",), "WEBP": ("RGB", "RGBA")}


@cache
def valid_images():
    """Return format -> small valid images in its modes and compressions."""
    base = Image.merge("RGB", [Image.effect_noise((43, 29), sigma) for sigma in (20, 60, 90)])
    kinds = [(form, mode, options.get(form, {})) for form in FORMS for mode in MODES.get(form, ("RGB", "L")) for options in VARIANTS]
    return {form: [_file(base, *kind) for kind in kinds if kind[0] == form] for form in FORMS}


def _file(image, form, mode, options):
    file = io.BytesIO()
    converted = Image.new("I;16", image.size, 40_000) if mode == "I;16" else image.convert(mode)
    if form == "TIFF" and mode != "RGB" and options.get("compression") == "jpeg":
        options = {}
    pages = {"save_all": True, "append_images": [converted.rotate(90)]} if form in ("GIF", "TIFF") else {}
    converted.save(file, form, **options, **pages)
    return file.getvalue()


def mutate(data, other, rng):
    """Flip bits, cut pieces, truncate, overwrite bytes, or insert or append a piece of `other`."""
    body = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        if len(body) < 8:
            break
        kind, position = rng.random(), _position(body, rng)
        if kind < 0.5:
            body[position] ^= 1 << rng.randrange(8)
        elif kind < 0.6:
            del body[position : position + rng.randint(1, 40)]
        elif kind < 0.7:
            del body[max(position, 1) :]
        elif kind < 0.8:
            body[position : position + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", rng.randbytes(4)))
        elif kind < 0.9:
            start = rng.randrange(len(other))
            body[position:position] = other[start : start + rng.randint(1, 200)]
        else:
            body[position:] = other[min(position, len(other)) :]
    return bytes(body)


def _position(body, rng):
    """Return a random position, half of the time within the first hundred bytes, which contain sizes."""
    return rng.randrange(len(body) if rng.random() < 0.5 else min(100, len(body)))


def make_image_bytes(number):
    """Return the image with this number. Its format repeats every six numbers."""
    rng = random.Random(f"image {number}")
    valid = valid_images()
    return mutate(rng.choice(valid[FORMS[number % len(FORMS)]]), rng.choice(valid[rng.choice(FORMS)]), rng)


BOUNDARY = b"edge-of-3f2a"


def _form(rng):
    """Return a valid form of one to three parts, as different clients write them."""
    return b"".join(_part(rng) for _ in range(rng.randint(1, 3))) + b"--" + BOUNDARY + b"--\r\n"


def _part(rng):
    name = rng.choice((b"image", b"image", b"image", b"min_confidence", b"api_key"))
    disposition = rng.choice((b'form-data; name="%s"', b"form-data; name=%s", b'form-data; name="%s"; filename="a;\\"b.jpg"')) % name
    more = rng.choice((b"", b"Content-Type: image/jpeg\r\n", b"X-Other: " + b"a" * 50 + b"\r\n"))
    value = rng.choice(valid_images()[rng.choice(FORMS)])[:400] if name == b"image" else rng.choice((b"0.5", b"", b"x"))
    return b"--" + BOUNDARY + b"\r\nContent-Disposition: " + disposition + b"\r\n" + more + b"\r\n" + value + b"\r\n"


def form(number):
    """Return (body, content type) with one or both mutated."""
    rng = random.Random(f"form {number}")
    body, content_type = _form(rng), b"multipart/form-data; boundary=" + rng.choice((BOUNDARY, b'"' + BOUNDARY + b'"'))
    part = rng.random()
    if part < 0.9:
        body = mutate(body, _form(rng), rng)
    if part > 0.75:
        content_type = mutate(content_type, b"multipart/mixed; boundary=; boundary*0=a; charset=utf-16", rng)
    return body, content_type
