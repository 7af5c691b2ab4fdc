"""Annotated images are limited in size, and count in the memory budget."""

import asyncio

import pytest

from service.middleware.limits import RESPONSE_COPIES, SEND_CHUNK_BYTES
from tests.service.asgi import async_client, wait_until
from tests.service.middleware.exchange import Exchange


@pytest.mark.parametrize("query", ["format=image", "format=both"])
def test_an_annotated_image_above_the_limit_is_refused(make_recording_app, make_image_bytes, query):
    async def test():
        app = make_recording_app(max_response_bytes=2000)
        async with async_client(app) as http:
            small = await http.post(f"/detect?{query}&confidence=1", content=make_image_bytes(16, 16))
            large = await http.post(f"/detect?{query}&confidence=1", content=make_image_bytes(200, 200))
            return app, small, large

    app, small, large = asyncio.run(test())
    assert (small.status_code, large.status_code) == (200, 413)
    assert large.json()["type"] == "urn:boxwright:problem:response-too-large"
    assert app.state.limits.body_bytes == 0


def test_the_limit_counts_all_annotated_images_of_a_batch(make_recording_app, make_image_bytes):
    async def test():
        app = make_recording_app(max_response_bytes=5000)
        files = [("image", make_image_bytes(16, 16))]
        async with async_client(app) as http:
            return [(await http.post("/detect?format=both", files=files * count)).status_code for count in (2, 16)]

    assert asyncio.run(test()) == [200, 413]


def test_annotated_images_count_in_the_memory_budget_until_they_are_sent(make_recording_app, make_image_bytes):
    image_bytes = make_image_bytes(700, 700)

    async def test():
        app = make_recording_app(max_waiting_bytes=8_000_000)
        unread, reading = Exchange(app), asyncio.Event()
        unread.scope["query_string"] = b"format=image&confidence=1"
        unread.scope["headers"] = [(b"accept", b"image/png")]
        unread.send_body(image_bytes)

        async def send(message):
            unread.sent.append(message)
            if message["type"] == "http.response.body":
                await reading.wait()

        task = asyncio.create_task(app(unread.scope, unread.incoming.get, send))
        await wait_until(lambda: len(unread.sent) > 1)
        held = app.state.limits.body_bytes
        async with async_client(app) as http:
            refused = await http.post("/detect?format=image&confidence=1", content=image_bytes, headers={"accept": "image/png"})
        reading.set()
        await task
        return app, unread, held, refused

    app, unread, held, refused = asyncio.run(test())
    body = b"".join(message["body"] for message in unread.sent[1:])
    assert held == len(image_bytes) + RESPONSE_COPIES * len(body) > 4_000_000
    assert max(len(message["body"]) for message in unread.sent[1:]) <= SEND_CHUNK_BYTES
    assert refused.status_code == 503
    assert app.state.limits.body_bytes == 0
