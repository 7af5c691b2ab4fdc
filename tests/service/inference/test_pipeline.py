"""Many clients at once: identical results, no calls in parallel where an engine forbids them, and an event loop that stays responsive."""

import asyncio
import threading
from dataclasses import dataclass, field, replace

import pytest

from detector.detector import Detector
from detector.engines.onnxruntime import OnnxEngine
from detector.network.spec import Model
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings
from tests.service.asgi import async_client, wait_until, without_timing


@pytest.fixture
def app(make_recording_app):
    return make_recording_app(queue_size=200)


@pytest.fixture
def two_models(recording_engine_class, tiny_model, random_arrays):
    """Two models with the same spec, each with an engine that records its calls."""
    other = Model("other", tiny_model.spec, random_arrays(tiny_model.spec.network, 2))
    return [LoadedModel.of(model, recording_engine_class(model)) for model in (tiny_model, other)]


@pytest.mark.parametrize("batching", [{}, {"batch_size": 4, "batch_wait_ms": 2}], ids=["sequential", "batches"])
def test_64_concurrent_requests_get_the_results_of_sequential_requests(two_models, make_image_bytes, batching):
    """16 images of different shapes, two models and two response formats at the same time."""
    app = create_app(Registry(two_models), Settings(queue_size=64, **batching))
    for model in two_models:
        model.detector.engine.threads.clear()
    images = [make_image_bytes(30 + 7 * index, 90 - 4 * index, form="PNG") for index in range(16)]
    queries = [{"confidence": 0.01, "model": model.name, "format": form} for model in two_models for form in ("both", "json")]

    async def send_all():
        async with async_client(app) as http:
            requests = [(content, query) for content in images for query in queries]
            sequential = [without_timing((await http.post("/detect", content=content, params=query)).json()) for content, query in requests]
            pending = [http.post("/detect", content=content, params=query) for content, query in requests]
            return sequential, [without_timing(response.json()) for response in await asyncio.gather(*pending)]

    sequential, concurrent = asyncio.run(send_all())
    assert concurrent == sequential
    assert len({str(response) for response in sequential}) == 64
    for model in two_models:
        assert model.detector.engine.max_running == 1
        assert len(model.detector.engine.threads) == 1


def test_64_concurrent_requests_with_parallel_calls_get_the_results_of_sequential_requests(tiny_model, make_image_bytes):
    model = LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model, threads=2, concurrent_sessions=True), max_concurrency=2)
    app = create_app(Registry([replace(model, cores=2)]), Settings(queue_size=64))
    images = [make_image_bytes(30 + 2 * index, 90 - index, form="PNG") for index in range(64)]

    async def send_all():
        async with async_client(app) as http:
            sequential = [without_timing((await http.post("/detect?confidence=0.01", content=content)).json()) for content in images]
            responses = await asyncio.gather(*(http.post("/detect?confidence=0.01", content=content) for content in images))
            return sequential, [without_timing(response.json()) for response in responses]

    sequential, concurrent = asyncio.run(send_all())
    assert concurrent == sequential
    assert len({str(response) for response in sequential}) == 64


class ParallelEngineStub:
    """Records which calls were multi-threaded. These calls wait for a permit."""

    name, precision = "parallel", "float32"

    def __init__(self, model):
        self.engine, self.calls, self.permits = OnnxEngine.of(model, threads=1), [], threading.Semaphore(1)

    def __call__(self, images):
        self.calls.append("multi-threaded")
        assert self.permits.acquire(timeout=30)
        return self.engine(images)

    def run_concurrently(self, images):
        self.calls.append("single-threaded")
        return self.engine(images)


@dataclass(frozen=True)
class BlockedDetector(Detector):
    """Counts the images that it prepares. Its post-processing waits for the gate."""

    prepared: list[int] = field(default_factory=list)
    began: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def preprocess(self, image):
        self.prepared.append(1)
        return super().preprocess(image)

    def postprocess(self, *args, **options):
        self.began.set()
        assert self.gate.wait(30)
        return super().postprocess(*args, **options)


def test_on_eight_cores_eight_images_are_prepared_while_others_are_in_the_network_and_in_postprocessing(tiny_model, make_image_bytes):
    engine = ParallelEngineStub(tiny_model)
    detector = BlockedDetector(tiny_model.spec, engine)
    model = replace(LoadedModel.of(tiny_model, engine, max_concurrency=8), detector=detector, cores=8)
    engine.calls.clear()
    app = create_app(Registry([model]), Settings(queue_size=64), cores=8)

    async def send_all():
        async with async_client(app) as http:
            requests = [asyncio.create_task(http.post("/detect", content=make_image_bytes()))]
            engine.permits.release()
            await asyncio.to_thread(detector.began.wait, 30)  # the first image is in post-processing
            requests.append(asyncio.create_task(http.post("/detect", content=make_image_bytes())))
            await wait_until(lambda: len(engine.calls) == 2)  # the second image is in the network
            requests += [asyncio.create_task(http.post("/detect", content=make_image_bytes())) for _ in range(40)]
            await wait_until(lambda: len(detector.prepared) >= 2 + 8)  # eight more images are prepared
            await wait_until(lambda: len(detector.prepared) == app.state.inference.queue.running)
            engine.permits.release(100)
            detector.gate.set()
            return await asyncio.gather(*requests)

    assert {response.status_code for response in asyncio.run(send_all())} == {200}
    assert engine.calls[:3] == ["multi-threaded", "multi-threaded", "single-threaded"]


def test_event_loop_answers_while_the_network_computes(app, recording_engine, make_image_bytes):
    recording_engine.gate.clear()

    async def send():
        async with async_client(app) as http:
            blocked = [asyncio.create_task(http.post("/detect", content=make_image_bytes())) for _ in range(50)]
            await asyncio.to_thread(recording_engine.entered.wait, 30)
            alive = await http.get("/livez")
            models = await http.get("/models")
            refused = await http.post("/detect", content=make_image_bytes(), params={"confidence": 2})
            done_early = [task.done() for task in blocked]
            recording_engine.gate.set()
            return [alive, models, refused], done_early, await asyncio.gather(*blocked)

    immediate, done_early, blocked = asyncio.run(send())
    assert [response.status_code for response in immediate] == [200, 200, 422]
    assert not any(done_early)
    assert {response.status_code for response in blocked} == {200}


def test_damaged_images_do_not_affect_other_requests(app, make_image_bytes):
    valid, damaged = make_image_bytes(200, 150), make_image_bytes(200, 150)[:4000]

    async def send_all():
        async with async_client(app) as http:
            return await asyncio.gather(*(http.post("/detect", content=content) for content in [valid, damaged, b""] * 20))

    assert [response.status_code for response in asyncio.run(send_all())] == [200, 422, 400] * 20


def test_a_heavy_image_gets_the_response_of_a_light_one_with_the_same_pixels(app, make_image_bytes):
    """A WebP of 2.1 megapixels is decoded in a child process, a PNG in a thread."""
    files = [
        make_image_bytes(1500, 1400, form=form, **options) for form, options in (("WEBP", {"lossless": True, "quality": 0}), ("PNG", {}))
    ]

    async def send_all():
        async with async_client(app) as http:
            query = {"confidence": 0.01, "format": "both"}
            return [without_timing((await http.post("/detect", content=content, params=query)).json()) for content in files]

    heavy, light = asyncio.run(send_all())
    assert heavy == light
    assert heavy["image"] == {"width": 1500, "height": 1400}
    assert heavy["detections"]


def test_a_damaged_heavy_image_is_refused(app, make_image_bytes):
    content = make_image_bytes(1500, 1400, form="WEBP", lossless=True, quality=0)

    async def send():
        async with async_client(app) as http:
            return await http.post("/detect", content=content[:40] + b"\xff" * (len(content) - 40))

    response = asyncio.run(send())
    assert response.status_code == 422
    assert response.json()["type"] == "urn:boxwright:problem:damaged-image"
