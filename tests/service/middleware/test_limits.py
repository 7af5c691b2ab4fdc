"""Overload and slow bodies are refused early, and nothing is computed for disconnected clients."""

import asyncio
import json

import pytest

from service.auth.api_keys import HashedKey, new_key
from service.inference import decoder_process
from service.middleware.limits import RESPONSE_COPIES, SEND_CHUNK_BYTES
from tests.service.asgi import async_client, wait_until


class Exchange:
    """One ASGI request and the messages of its response. The test sends the body in parts."""

    def __init__(self, app, *, path="/detect", headers=(), length=None):
        declared = [(b"content-length", str(length).encode())] if length is not None else []
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*declared, *headers],
            "client": ("127.0.0.1", 1),
            "server": ("service", 80),
        }
        self.app, self.sent, self.reads, self.incoming = app, [], [], asyncio.Queue()

    def send_body(self, data, more=False):
        self.incoming.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def disconnect(self):
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def run(self):
        async def receive():
            self.reads.append(len(self.sent))
            return await self.incoming.get()

        async def send(message):
            self.sent.append(message)

        await self.app(self.scope, receive, send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def problem(self):
        return json.loads(b"".join(message["body"] for message in self.sent[1:]))["type"].rpartition(":")[2]


def metric_value(app, name, **labels):
    return app.state.metrics.collector_registry.get_sample_value(name, labels)


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
