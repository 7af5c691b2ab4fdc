"""Overload and slow bodies are refused early, and nothing is computed for disconnected clients."""

import asyncio

import pytest

from service.inference import decoder_process
from tests.service.asgi import async_client, wait_until
from tests.service.middleware.exchange import Exchange, metric_value


async def fill(app, http, image_bytes, count):
    """Start `count` requests that wait for the gate of the engine."""
    queue = app.state.inference.queue
    tasks = [asyncio.create_task(http.post("/detect", content=image_bytes)) for _ in range(count)]
    await wait_until(lambda: queue.running + queue.waiting == count)
    return tasks


def capacity(app):
    """Return the number of requests that may run or wait at the same time."""
    return app.state.inference.queue.max_concurrency + 2


def test_a_full_queue_refuses_a_request_before_its_body_is_read(make_recording_app, recording_engine, make_image_bytes):
    async def test():
        app = make_recording_app(queue_size=2)
        app.state.inference.queue.service_time.seconds = 1.1
        recording_engine.gate.clear()
        async with async_client(app) as http:
            tasks = await fill(app, http, make_image_bytes(), capacity(app))
            surplus = Exchange(app, length=1000)
            surplus.send_body(b"unread")
            await surplus.run()
            alive = await http.get("/livez")
            recording_engine.gate.set()
            responses = await asyncio.gather(*tasks)
            return app, surplus, alive, responses, await http.post("/detect", content=make_image_bytes())

    app, refused, alive, responses, afterwards = asyncio.run(test())
    assert (refused.status, refused.problem) == (503, "overloaded")
    assert min(refused.reads) >= 2  # status and body of the response had been sent
    assert refused.headers["connection"] == "close"
    assert int(refused.headers["retry-after"]) == -(-11 * capacity(app) // 10)
    assert {response.status_code for response in responses} == {200}
    assert (alive.status_code, afterwards.status_code) == (200, 200)
    assert metric_value(app, "boxwright_rejected_total", reason="queue") == 1


def test_a_body_that_arrives_while_the_queue_fills_is_refused(make_recording_app, recording_engine, make_image_bytes):
    async def test():
        app = make_recording_app(queue_size=2)
        recording_engine.gate.clear()
        async with async_client(app) as http:
            slow = Exchange(app)
            arriving = asyncio.create_task(slow.run())
            await wait_until(lambda: slow.reads)
            tasks = await fill(app, http, make_image_bytes(), capacity(app))
            slow.send_body(make_image_bytes())
            await arriving
            recording_engine.gate.set()
            await asyncio.gather(*tasks)
            return slow

    slow = asyncio.run(test())
    assert (slow.status, slow.problem) == (503, "overloaded")
    assert int(slow.headers["retry-after"]) >= 1
    assert "connection" not in slow.headers  # the body was read, so the connection can be used again


def test_a_missed_deadline_is_answered_504_and_later_stages_are_skipped(make_recording_app, recording_engine, make_image_bytes):
    async def test():
        app = make_recording_app()
        recording_engine.gate.clear()
        async with async_client(app) as http:
            (first,) = await fill(app, http, make_image_bytes(), 1)
            await asyncio.to_thread(recording_engine.entered.wait, 30)
            late = await asyncio.gather(
                *(http.post("/detect", content=make_image_bytes(), headers={"X-Request-Timeout": "0.05"}) for _ in range(6))
            )
            recording_engine.gate.set()
            return app, late, await first, await http.post("/detect", content=make_image_bytes(), headers={"X-Request-Timeout": "60"})

    app, late, first, following = asyncio.run(test())
    assert {(response.status_code, response.json()["type"]) for response in late} == {(504, "urn:boxwright:problem:deadline-missed")}
    assert (first.status_code, following.status_code) == (200, 200)
    assert recording_engine.calls == 2
    assert metric_value(app, "boxwright_deadline_missed_total") == 6


def test_a_client_cannot_extend_the_time_limit(make_recording_app, recording_engine, make_image_bytes):
    async def test():
        app = make_recording_app(request_seconds=0.05)
        recording_engine.gate.clear()
        async with async_client(app) as http:
            return await http.post("/detect", content=make_image_bytes(), headers={"X-Request-Timeout": "3600"})

    assert asyncio.run(test()).status_code == 504


@pytest.mark.parametrize("sent", ["soon", "0", "-1", "nan", "inf", "1e999", ""])
def test_an_invalid_timeout_header_is_refused(detect, make_image_bytes, sent):
    response = detect(make_image_bytes(), headers={"X-Request-Timeout": sent})
    assert (response.status_code, response.json()["type"]) == (400, "urn:boxwright:problem:bad-header")


def test_requests_of_disconnected_clients_are_not_computed(make_recording_app, recording_engine, make_image_bytes, caplog):
    async def test():
        app = make_recording_app()
        recording_engine.gate.clear()
        async with async_client(app) as http:
            (first,) = await fill(app, http, make_image_bytes(), 1)
            await asyncio.to_thread(recording_engine.entered.wait, 30)
            exchanges = [Exchange(app) for _ in range(6)]
            tasks = [asyncio.create_task(exchange.run()) for exchange in exchanges]
            for exchange in exchanges:
                exchange.send_body(make_image_bytes())
            await wait_until(lambda: app.state.inference.queue.running + app.state.inference.queue.waiting == 7)
            for exchange in exchanges:
                exchange.disconnect()
            await asyncio.gather(*tasks)
            recording_engine.gate.set()
            assert (await first).status_code == 200
            assert (await http.post("/detect", content=make_image_bytes())).status_code == 200
            return app, exchanges

    with caplog.at_level("INFO", logger="boxwright"):
        app, exchanges = asyncio.run(test())
    assert recording_engine.calls == 2
    assert not any(exchange.sent for exchange in exchanges)
    assert metric_value(app, "boxwright_disconnected_total") == 6
    assert metric_value(app, "boxwright_requests_total", route="/detect", method="POST", status="499") == 6
    assert "the client disconnected" in caplog.text


def test_deepstack_list_is_answered_while_the_queue_is_full(make_recording_app, recording_engine, make_image_bytes):
    async def test():
        app = make_recording_app(queue_size=2)
        recording_engine.gate.clear()
        async with async_client(app) as http:
            tasks = await fill(app, http, make_image_bytes(), capacity(app))
            names = await http.post("/v1/vision/custom/list")
            refused = await http.post("/v1/vision/detection", files={"image": make_image_bytes()})
            recording_engine.gate.set()
            await asyncio.gather(*tasks)
            return names, refused

    names, refused = asyncio.run(test())
    assert (names.status_code, refused.status_code) == (200, 503)
    assert names.json()["models"] == ["tiny-random"]


def test_a_large_image_that_misses_the_deadline_is_refused_as_overload_and_its_process_ends(
    make_recording_app, make_image_bytes, monkeypatch
):
    monkeypatch.setattr(decoder_process, "COMMAND", "import sys, time; sys.stdin.buffer.read(); time.sleep(600)")
    large = make_image_bytes(1500, 1400, form="WEBP", lossless=True, quality=0)

    async def test():
        app = make_recording_app(request_seconds=0.5)
        async with async_client(app) as http:
            response = await http.post("/detect", content=large)
            await wait_until(lambda: app.state.inference.running == 0)
            return response

    refused = asyncio.run(test())
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "large image" in refused.json()["detail"]
