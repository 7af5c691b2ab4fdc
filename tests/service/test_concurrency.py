"""Many clients at once: the same answers, no call of the network that it is not made for, and an event loop that is never held up."""

import asyncio
import threading
from dataclasses import dataclass, field, replace

import httpx
import pytest

from detector.detector import Detector
from detector.engines.onnxruntime import OnnxEngine
from detector.spec import Model
from service.app import create_app
from service.models.registry import LoadedModel, Registry
from service.settings import Settings


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60)


async def until(condition):
    """Give way until it holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def said(answer):
    """The answer without what depends on the clock."""
    return {name: value for name, value in answer.json().items() if name != "timing_ms"}


@pytest.fixture
def app(watched_app):
    return watched_app(queue_size=200)


@pytest.fixture
def two_models(watched_engine, tiny_model, random_arrays):
    """The tiny model and another of its kind, each with an engine that is watched."""
    other = Model("other", tiny_model.spec, random_arrays(tiny_model.spec.network, 2))
    return [LoadedModel.of(model, watched_engine(model)) for model in (tiny_model, other)]


@pytest.mark.parametrize("batching", [{}, {"batch_size": 4, "batch_wait_ms": 2}], ids=["one by one", "in batches"])
def test_64_clients_get_exactly_the_answers_of_one_at_a_time(two_models, photo, batching):
    """16 photos of as many shapes, two models, two kinds of answer, all at once."""
    settings = Settings(queue_size=64, **batching)
    app = create_app(Registry(two_models), settings)
    for model in two_models:
        model.detector.engine.threads.clear()
    photos = [photo(30 + 7 * index, 90 - 4 * index, form="PNG") for index in range(16)]
    queries = [{"confidence": 0.01, "model": model.name, "format": form} for model in two_models for form in ("both", "json")]

    async def ask_all():
        async with client(app) as http:
            requests = [(content, query) for content in photos for query in queries]
            alone = [said(await http.post("/detect", content=content, params=query)) for content, query in requests]
            waiting = [http.post("/detect", content=content, params=query) for content, query in requests]
            return alone, [said(answer) for answer in await asyncio.gather(*waiting)]

    alone, together = asyncio.run(ask_all())
    assert together == alone
    assert len({str(answer) for answer in alone}) == 64
    for model in two_models:
        assert model.detector.engine.most == 1
        assert len(model.detector.engine.threads) == 1


def test_64_clients_of_a_network_that_is_called_beside_itself_get_exactly_the_answers_of_one_at_a_time(tiny_model, photo):
    model = LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model, threads=2, lanes=True), lanes=2)
    app = create_app(Registry([model]), Settings(queue_size=64))
    photos = [photo(30 + 2 * index, 90 - index, form="PNG") for index in range(64)]

    async def ask_all():
        async with client(app) as http:
            alone = [said(await http.post("/detect?confidence=0.01", content=content)) for content in photos]
            return alone, [said(each) for each in await asyncio.gather(*(http.post("/detect?confidence=0.01", content=c) for c in photos))]

    alone, together = asyncio.run(ask_all())
    assert together == alone
    assert len({str(answer) for answer in alone}) == 64


class OfManyCores:
    """An engine that notes which of its calls had all cores; these wait for a permit."""

    name = "of many cores"

    def __init__(self, model):
        self.engine, self.said, self.permits = OnnxEngine.of(model, threads=1), [], threading.Semaphore(1)

    def __call__(self, images):
        self.said.append("alone")
        assert self.permits.acquire(timeout=30)
        return self.engine(images)

    def beside(self, images):
        self.said.append("beside")
        return self.engine(images)


@dataclass(frozen=True)
class Unfinished(Detector):
    """Counts what it prepares; its last step waits for the gate."""

    prepared: list[int] = field(default_factory=list)
    began: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def prepare(self, image):
        self.prepared.append(1)
        return super().prepare(image)

    def select(self, *args, **options):
        self.began.set()
        assert self.gate.wait(30)
        return super().select(*args, **options)


def test_on_many_cores_as_many_photos_get_ready_as_can_be_computed_beside_one_another_though_others_are_being_finished(tiny_model, photo):
    engine = OfManyCores(tiny_model)
    detector = Unfinished(tiny_model.spec, engine)
    model = replace(LoadedModel.of(tiny_model, engine, lanes=8), detector=detector)
    engine.said.clear()
    app = create_app(Registry([model]), Settings(queue_size=64), cores=8)

    async def ask_all():
        async with client(app) as http:
            ask = [asyncio.create_task(http.post("/detect", content=photo()))]
            engine.permits.release()
            await asyncio.to_thread(detector.began.wait, 30)  # one is being finished,
            ask.append(asyncio.create_task(http.post("/detect", content=photo())))
            await until(lambda: len(engine.said) == 2)  # one is computed,
            ask += [asyncio.create_task(http.post("/detect", content=photo())) for _ in range(40)]
            await until(lambda: len(detector.prepared) >= 2 + 8)  # and so many are about to wait for it
            await asyncio.sleep(0.2)
            engine.permits.release(100)
            detector.gate.set()
            return await asyncio.gather(*ask)

    assert {answer.status_code for answer in asyncio.run(ask_all())} == {200}
    assert engine.said[:3] == ["alone", "alone", "beside"]


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
