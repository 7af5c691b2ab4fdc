"""Bodies that nobody would send in good faith: never a 5xx, and the service goes on."""

import asyncio
import io
import logging
import random
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

FORMS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


def mutated(data, dice):
    """Some bits flipped, a piece cut out or the end cut off, or two places swapped."""
    body = bytearray(data)
    for _ in range(dice.randint(1, 12)):
        kind, place = dice.random(), dice.randrange(len(body))
        if kind < 0.6:
            body[place] ^= 1 << dice.randrange(8)
        elif kind < 0.8:
            del body[place : place + dice.randint(1, 40)]
        elif kind < 0.9:
            del body[max(place, 20) :]
        else:
            body[place : place + 8] = dice.randbytes(8)
        if len(body) < 8:
            break
    return bytes(body)


def small_photo(form):
    file = io.BytesIO()
    Image.effect_noise((31, 17), 90).convert("RGB").save(file, form)
    return file.getvalue()


def answers(app, requests):
    """What the service says to each (content, content type)."""

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            return [
                await client.post("/detect", content=content, headers={"content-type": kind}, params={"format": "both"})
                for content, kind in requests
            ]

    return asyncio.run(ask())


def check_all(app, requests, caplog):
    with caplog.at_level(logging.ERROR):
        statuses = [answer.status_code for answer in answers(app, requests)]
    assert set(statuses) <= {200, 400, 413, 415, 422}
    assert len(set(statuses)) > 1
    assert not [record for record in caplog.records if record.name.startswith("boxwright")]
    assert answers(app, [(small_photo("PNG"), "image/png")])[0].status_code == 200


@pytest.mark.parametrize("form", FORMS)
def test_mutated_photos_never_make_it_fail(tiny_app, form, caplog):
    dice, sound = random.Random(form), small_photo(form)
    check_all(tiny_app, [(mutated(sound, dice), "image/jpeg") for _ in range(80)], caplog)


def test_mutated_forms_never_make_it_fail(tiny_app, caplog):
    dice = random.Random(7)
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    form = head + small_photo("GIF")[:60] + b"\r\n--edge--\r\n"
    bodies = [(mutated(form, dice), "multipart/form-data; boundary=edge") for _ in range(200)]
    kinds = [(form, mutated(b"multipart/form-data; boundary=edge", dice).decode("latin-1")) for _ in range(100)]
    sendable = [(body, kind) for body, kind in kinds if kind.isascii() and kind.isprintable()]
    check_all(tiny_app, bodies + sendable, caplog)


def test_mutated_queries_never_make_it_fail(tiny_app, ask):
    dice = random.Random(11)
    query = b"confidence=0.5&iou=0.4&classes=dog&classes=cat&max_detections=5&format=both&model=tiny-random"
    queries = [quote(mutated(query, dice), safe="&=") for _ in range(150)]
    statuses = {ask(tiny_app, "POST", f"/detect?{query}", content=small_photo("PNG")).status_code for query in queries}
    assert statuses <= {200, 404, 422}
    assert len(statuses) > 1
