"""Mutated images and forms. They are seeded, so the n-th one is the same in every run."""

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
    """Return small images by format, in its modes and compressions."""
    base = Image.merge("RGB", [Image.effect_noise((43, 29), sigma) for sigma in (20, 60, 90)])
    kinds = [(form, mode, options.get(form, {})) for form in FORMS for mode in MODES.get(form, ("RGB", "L")) for options in VARIANTS]
    return {form: [_file(base, *kind) for kind in kinds if kind[0] == form] for form in FORMS}


def _file(picture, form, mode, options):
    file = io.BytesIO()
    converted = Image.new("I;16", picture.size, 40_000) if mode == "I;16" else picture.convert(mode)
    if form == "TIFF" and mode != "RGB" and options.get("compression") == "jpeg":
        options = {}
    more = {"save_all": True, "append_images": [converted.rotate(90)]} if form in ("GIF", "TIFF") else {}
    converted.save(file, form, **options, **more)
    return file.getvalue()


def mutated(data, other, dice):
    """Flip bits, cut pieces, truncate, overwrite bytes, or insert or append a piece of `other`."""
    body = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 12))):
        if len(body) < 8:
            break
        kind, place = dice.random(), _place(body, dice)
        if kind < 0.5:
            body[place] ^= 1 << dice.randrange(8)
        elif kind < 0.6:
            del body[place : place + dice.randint(1, 40)]
        elif kind < 0.7:
            del body[max(place, 1) :]
        elif kind < 0.8:
            body[place : place + 4] = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", dice.randbytes(4)))
        elif kind < 0.9:
            start = dice.randrange(len(other))
            body[place:place] = other[start : start + dice.randint(1, 200)]
        else:
            body[place:] = other[min(place, len(other)) :]
    return bytes(body)


def _place(body, dice):
    """Return a random position, half of the time within the first hundred bytes, which contain sizes."""
    return dice.randrange(len(body) if dice.random() < 0.5 else min(100, len(body)))


def photo(number):
    """Return the image with this number. Its format repeats every six numbers."""
    dice = random.Random(f"photo {number}")
    valid = valid_images()
    return mutated(dice.choice(valid[FORMS[number % len(FORMS)]]), dice.choice(valid[dice.choice(FORMS)]), dice)


EDGE = b"edge-of-3f2a"


def _form(dice):
    """Return a valid form of one to three parts, as different clients write them."""
    return b"".join(_part(dice) for _ in range(dice.randint(1, 3))) + b"--" + EDGE + b"--\r\n"


def _part(dice):
    name = dice.choice((b"image", b"image", b"image", b"min_confidence", b"api_key"))
    disposition = dice.choice((b'form-data; name="%s"', b"form-data; name=%s", b'form-data; name="%s"; filename="a;\\"b.jpg"')) % name
    more = dice.choice((b"", b"Content-Type: image/jpeg\r\n", b"X-Other: " + b"a" * 50 + b"\r\n"))
    value = dice.choice(valid_images()[dice.choice(FORMS)])[:400] if name == b"image" else dice.choice((b"0.5", b"", b"x"))
    return b"--" + EDGE + b"\r\nContent-Disposition: " + disposition + b"\r\n" + more + b"\r\n" + value + b"\r\n"


def form(number):
    """Return (body, content type), of which one or both are mutated."""
    dice = random.Random(f"form {number}")
    body, kind = _form(dice), b"multipart/form-data; boundary=" + dice.choice((EDGE, b'"' + EDGE + b'"'))
    which = dice.random()
    if which < 0.9:
        body = mutated(body, _form(dice), dice)
    if which > 0.75:
        kind = mutated(kind, b"multipart/mixed; boundary=; boundary*0=a; charset=utf-16", dice)
    return body, kind
