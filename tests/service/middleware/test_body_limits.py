"""Slow bodies are refused, and the memory of all bodies is bounded."""

import asyncio

from service.auth.api_keys import HashedKey, new_key
from tests.service.asgi import async_client, wait_until
from tests.service.middleware.exchange import Exchange, metric_value


def test_a_slow_body_is_refused(make_recording_app, make_image_bytes):
    async def test():
        app = make_recording_app(body_seconds=0.05)
        slow = Exchange(app, length=100_000)
        slow.send_body(make_image_bytes()[:10], more=True)
        task = asyncio.create_task(slow.run())
        await wait_until(lambda: slow.sent)
        slow.disconnect()
        await task
        return app, slow

    app, slow = asyncio.run(test())
    assert (slow.status, slow.problem, slow.headers["connection"]) == (408, "slow-body", "close")
    assert metric_value(app, "boxwright_slow_bodies_total") == 1
    assert metric_value(app, "boxwright_body_bytes") == 0


def test_the_memory_of_all_bodies_is_bounded(make_recording_app, make_image_bytes):
    async def test():
        app = make_recording_app(max_waiting_bytes=100_000)
        holding, surplus = Exchange(app), Exchange(app)
        holding.send_body(bytes(90_000), more=True)
        held = asyncio.create_task(holding.run())
        await wait_until(lambda: metric_value(app, "boxwright_body_bytes") == 90_000)
        surplus.send_body(bytes(20_000), more=True)
        surplus.send_body(b"")
        await surplus.run()
        holding.disconnect()
        await held
        async with async_client(app) as http:
            return app, surplus, await http.post("/detect", content=make_image_bytes())

    app, refused, afterwards = asyncio.run(test())
    assert (refused.status, refused.problem) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert metric_value(app, "boxwright_rejected_total", reason="memory") == 1
    assert metric_value(app, "boxwright_body_bytes") == 0
    assert afterwards.status_code == 200


KEY = new_key()
KEYS = {"key_hashes": str(HashedKey.of("camera", KEY))}
FORM = (b"content-type", b"multipart/form-data; boundary=edge")


def test_bodies_without_a_key_have_a_separate_memory_budget(make_recording_app, make_image_bytes):
    async def test():
        app = make_recording_app(max_unauthenticated_bytes=100_000, **KEYS)
        holding = Exchange(app, path="/v1/vision/detection", headers=[FORM])
        holding.send_body(bytes(90_000), more=True)
        held = asyncio.create_task(holding.run())
        await wait_until(lambda: app.state.limits.unauthenticated_bytes == 90_000)
        surplus = Exchange(app, path="/v1/vision/detection", headers=[FORM], length=100_000)
        surplus.send_body(bytes(20_000), more=True)
        refusing = asyncio.create_task(surplus.run())
        await wait_until(lambda: surplus.sent)
        async with async_client(app) as http:  # the refused request still holds its bytes
            with_key = await http.post("/detect", content=make_image_bytes(), headers={"X-API-Key": KEY})
        authenticated_bytes = app.state.limits.body_bytes
        for exchange in (holding, surplus):
            exchange.disconnect()
        await asyncio.gather(held, refusing)
        return app, surplus, with_key, authenticated_bytes

    app, refused, with_key, authenticated_bytes = asyncio.run(test())
    assert (refused.status, with_key.status_code, authenticated_bytes) == (503, 200, 0)
    assert app.state.limits.unauthenticated_bytes == app.state.limits.body_bytes == 0


def test_a_body_without_a_key_has_a_shorter_time_limit(make_recording_app):
    async def test():
        app = make_recording_app(unauthenticated_seconds=0.05, **KEYS)
        slow = Exchange(app, path="/v1/vision/detection", headers=[FORM], length=100_000)
        slow.send_body(b"--edge", more=True)
        task = asyncio.create_task(slow.run())
        await wait_until(lambda: slow.sent)
        slow.disconnect()
        await task
        authenticated = Exchange(app, path="/detect", headers=[(b"x-api-key", KEY.encode())], length=100_000)
        authenticated.send_body(b"x", more=True)
        task = asyncio.create_task(authenticated.run())
        await wait_until(lambda: app.state.limits.body_bytes == 1)
        await asyncio.sleep(0.1)
        sent = list(authenticated.sent)
        authenticated.disconnect()
        await task
        return slow, sent

    slow, sent = asyncio.run(test())
    assert (slow.status, sent) == (408, [])
