"""More than can be done: refused at once, or in time, and nothing computed for nobody."""

import asyncio
import json

import httpx
import pytest


class Exchange:
    """One request as the server hands it to an application: pieces of a body that come when the test says so, and what was sent back."""

    def __init__(self, app, *, headers=(), length=None):
        declared = [(b"content-length", str(length).encode())] if length is not None else []
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/detect",
            "raw_path": b"/detect",
            "query_string": b"",
            "root_path": "",
            "headers": [*declared, *headers],
            "client": ("127.0.0.1", 1),
            "server": ("service", 80),
        }
        self.app, self.sent, self.reads, self.incoming = app, [], [], asyncio.Queue()

    def body(self, data, more=False):
        self.incoming.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def hang_up(self):
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


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=60)


async def until(condition):
    """Give way until it holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def value(app, name, **labels):
    return app.state.metrics.collector_registry.get_sample_value(name, labels)


async def fill(app, http, photo, count):
    """So many requests that wait for the gate."""
    scheduler = app.state.inference.queue
    tasks = [asyncio.create_task(http.post("/detect", content=photo)) for _ in range(count)]
    await until(lambda: scheduler.running + scheduler.waiting == count)
    return tasks


def places(app):
    """Photos that are worked on or may wait."""
    return app.state.inference.queue.max_concurrency + 2


def test_a_full_queue_refuses_before_the_body_is_read(watched_app, watched, photo):
    async def test():
        app = watched_app(queue_size=2)
        app.state.inference.queue.service_time.seconds = 1.1
        watched.gate.clear()
        async with client(app) as http:
            tasks = await fill(app, http, photo(), places(app))
            one_more = Exchange(app, length=1000)
            one_more.body(b"what nobody reads")
            await one_more.run()
            alive = await http.get("/livez")
            watched.gate.set()
            answers = await asyncio.gather(*tasks)
            return app, one_more, alive, answers, await http.post("/detect", content=photo())

    app, refused, alive, answers, afterwards = asyncio.run(test())
    assert (refused.status, refused.problem) == (503, "overloaded")
    assert min(refused.reads) >= 2  # head and body of the answer were on their way already
    assert refused.headers["connection"] == "close"
    assert int(refused.headers["retry-after"]) == -(-11 * places(app) // 10)
    assert {answer.status_code for answer in answers} == {200}
    assert (alive.status_code, afterwards.status_code) == (200, 200)
    assert value(app, "boxwright_rejected_total", reason="queue") == 1


def test_bodies_that_arrived_while_the_queue_filled_are_refused_too(watched_app, watched, photo):
    async def test():
        app = watched_app(queue_size=2)
        watched.gate.clear()
        async with client(app) as http:
            early = Exchange(app)
            arriving = asyncio.create_task(early.run())
            await until(lambda: early.reads)
            tasks = await fill(app, http, photo(), places(app))
            early.body(photo())
            await arriving
            watched.gate.set()
            await asyncio.gather(*tasks)
            return early

    late = asyncio.run(test())
    assert (late.status, late.problem) == (503, "overloaded")
    assert int(late.headers["retry-after"]) >= 1
    assert "connection" not in late.headers  # the body was read, so the connection can go on


def test_a_request_out_of_time_is_answered_504_and_what_had_not_begun_is_skipped(watched_app, watched, photo):
    async def test():
        app = watched_app()
        watched.gate.clear()
        async with client(app) as http:
            (first,) = await fill(app, http, photo(), 1)
            await asyncio.to_thread(watched.entered.wait, 30)
            late = await asyncio.gather(*(http.post("/detect", content=photo(), headers={"X-Request-Timeout": "0.05"}) for _ in range(6)))
            watched.gate.set()
            return app, late, await first, await http.post("/detect", content=photo(), headers={"X-Request-Timeout": "60"})

    app, late, first, next_ = asyncio.run(test())
    assert {(answer.status_code, answer.json()["type"]) for answer in late} == {(504, "urn:boxwright:problem:deadline-missed")}
    assert (first.status_code, next_.status_code) == (200, 200)
    assert watched.calls == 2
    assert value(app, "boxwright_deadline_missed_total") == 6


def test_the_setting_bounds_what_a_client_may_ask_for(watched_app, watched, photo):
    async def test():
        app = watched_app(request_seconds=0.05)
        watched.gate.clear()
        async with client(app) as http:
            return await http.post("/detect", content=photo(), headers={"X-Request-Timeout": "3600"})

    assert asyncio.run(test()).status_code == 504


@pytest.mark.parametrize("sent", ["soon", "0", "-1", "nan", "inf", "1e999", ""])
def test_a_timeout_that_is_no_time_is_refused(detect, photo, sent):
    answer = detect(photo(), headers={"X-Request-Timeout": sent})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:boxwright:problem:bad-header")


def test_a_client_that_hangs_up_is_not_computed_for(watched_app, watched, photo, caplog):
    async def test():
        app = watched_app()
        watched.gate.clear()
        async with client(app) as http:
            (first,) = await fill(app, http, photo(), 1)
            await asyncio.to_thread(watched.entered.wait, 30)
            exchanges = [Exchange(app) for _ in range(6)]
            tasks = [asyncio.create_task(exchange.run()) for exchange in exchanges]
            for exchange in exchanges:
                exchange.body(photo())
            await until(lambda: app.state.inference.queue.running + app.state.inference.queue.waiting == 7)
            for exchange in exchanges:
                exchange.hang_up()
            await asyncio.gather(*tasks)
            watched.gate.set()
            assert (await first).status_code == 200
            assert (await http.post("/detect", content=photo())).status_code == 200
            return app, exchanges

    with caplog.at_level("INFO", logger="boxwright"):
        app, exchanges = asyncio.run(test())
    assert watched.calls == 2
    assert not any(exchange.sent for exchange in exchanges)
    assert value(app, "boxwright_disconnected_total") == 6
    assert value(app, "boxwright_requests_total", route="/detect", method="POST", status="499") == 6
    assert "the client hung up" in caplog.text


def test_a_body_that_takes_too_long_is_cut_off(watched_app, photo):
    async def test():
        app = watched_app(body_seconds=0.05)
        slow = Exchange(app, length=100_000)
        slow.body(photo()[:10], more=True)
        task = asyncio.create_task(slow.run())
        await until(lambda: slow.sent)
        slow.hang_up()
        await task
        return app, slow

    app, slow = asyncio.run(test())
    assert (slow.status, slow.problem, slow.headers["connection"]) == (408, "slow-body", "close")
    assert value(app, "boxwright_slow_bodies_total") == 1
    assert value(app, "boxwright_body_bytes") == 0


def test_all_bodies_together_are_bounded(watched_app, photo):
    async def test():
        app = watched_app(max_waiting_bytes=100_000)
        holding, one_more = Exchange(app), Exchange(app)
        holding.body(bytes(90_000), more=True)
        held = asyncio.create_task(holding.run())
        await until(lambda: value(app, "boxwright_body_bytes") == 90_000)
        one_more.body(bytes(20_000), more=True)
        one_more.body(b"")
        await one_more.run()
        holding.hang_up()
        await held
        async with client(app) as http:
            return app, one_more, await http.post("/detect", content=photo())

    app, refused, afterwards = asyncio.run(test())
    assert (refused.status, refused.problem) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert value(app, "boxwright_rejected_total", reason="memory") == 1
    assert value(app, "boxwright_body_bytes") == 0
    assert afterwards.status_code == 200
