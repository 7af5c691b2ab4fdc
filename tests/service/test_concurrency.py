"""Many clients at once: the same answers, one photo in the network at a time, and an event loop that is never held up."""

import asyncio
import threading

import httpx
import pytest

from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.registry import LoadedModel, Registry
from service.settings import Settings


class Watched:
    """An engine that notes in which thread it is called, and waits for `gate` if it is closed."""

    name = "watched"

    def __init__(self, model):
        self.engine = OnnxEngine.of(model)
        self.inside, self.most, self.threads = 0, 0, set()
        self.lock, self.gate, self.entered = threading.Lock(), threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, images):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(timeout=30)
        logits = self.engine(images)
        with self.lock:
            self.inside -= 1
        return logits


@pytest.fixture
def watched(tiny_model):
    return Watched(tiny_model)


@pytest.fixture
def app(tiny_model, watched):
    loaded = LoadedModel.of(tiny_model, watched)
    watched.threads.clear()
    watched.entered.clear()
    return create_app(Registry([loaded]), Settings())


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=60)


def said(answer):
    """The answer without what depends on the clock."""
    return {name: value for name, value in answer.json().items() if name != "timing_ms"}


def test_sixteen_clients_get_exactly_the_answers_of_one_at_a_time(app, watched, photo):
    photos = [photo(30 + 7 * index, 90 - 4 * index, form="PNG") for index in range(16)]
    query = {"confidence": 0.01, "format": "both"}

    async def ask_all():
        async with client(app) as http:
            alone = [said(await http.post("/detect", content=content, params=query)) for content in photos]
            requests = [http.post("/detect", content=content, params=query) for content in photos * 4]
            together = [said(answer) for answer in await asyncio.gather(*requests)]
        return alone, together

    alone, together = asyncio.run(ask_all())
    assert together == alone * 4
    assert len({str(answer) for answer in alone}) == 16
    assert watched.most == 1
    assert len(watched.threads) == 1


def test_the_event_loop_answers_while_the_network_computes(app, watched, photo):
    watched.gate.clear()

    async def ask():
        async with client(app) as http:
            slow = [asyncio.create_task(http.post("/detect", content=photo())) for _ in range(50)]
            await asyncio.to_thread(watched.entered.wait, 30)
            alive = await http.get("/livez")  # comes back only if nothing blocks
            models = await http.get("/models")
            refused = await http.post("/detect", content=photo(), params={"confidence": 2})
            early = [task.done() for task in slow]
            watched.gate.set()
            return [alive, models, refused], early, await asyncio.gather(*slow)

    quick, early, late = asyncio.run(ask())
    assert [answer.status_code for answer in quick] == [200, 200, 422]
    assert not any(early)
    assert {answer.status_code for answer in late} == {200}


def test_damaged_photos_among_sound_ones_spoil_nothing(app, photo):
    sound, damaged = photo(200, 150), photo(200, 150)[:4000]

    async def ask_all():
        async with client(app) as http:
            return await asyncio.gather(*(http.post("/detect", content=content) for content in [sound, damaged, b""] * 20))

    assert [answer.status_code for answer in asyncio.run(ask_all())] == [200, 422, 400] * 20
