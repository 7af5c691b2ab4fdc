"""The service with a tiny real model, in this process without a socket and as a separate process."""

import asyncio
import functools
import io
import logging
import socket
import ssl
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from detector.engines.onnxruntime import OnnxEngine
from detector.network.spec import Model
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.observability.logging import LOGGERS, configure_logging
from service.settings import Settings
from weights.formats.safetensors import save_model


@pytest.fixture
def log_lines(capsys, monkeypatch):
    """Return a function (format) that configures the log. It returns a second function -> the log lines since its last call."""
    loggers = [logging.getLogger(name) for name in ("", *LOGGERS)]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    logging.captureWarnings(False)
    for name in ("uvicorn", "uvicorn.error"):  # other tests may have started uvicorn with its own log configuration
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)

    def start(log_format):
        configure_logging(log_format, "info")
        return lambda: capsys.readouterr().err.splitlines()

    yield start
    logging.captureWarnings(False)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session", autouse=True)
def one_tls_context():
    """Share one TLS context: httpx loads all certificates for each client, which takes 30 ms, and these tests do not use TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def lines_since():
    """Return a function (service, start, accept) -> the lines of its log from `start`, once `accept` returns True for them."""

    def wait(service, start, accept):
        for _ in range(3000):
            if accept(lines := service.log[start:]):
                return lines
            time.sleep(0.01)  # the log arrives through a pipe
        return pytest.fail(f"the log lacks lines: {lines}")

    return wait


@pytest.fixture(scope="session")
def make_image_bytes():
    """Return a function (width, height, format, mode) -> an image file with noise."""

    def make(width=80, height=50, *, form="JPEG", mode="RGB", **options):
        pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, form, **options)
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def png_with_claimed_size():
    """Return a function (width, height) -> a PNG with this size in its header and a thousand zero bytes of pixels."""

    def make(width, height):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")

    return make


@pytest.fixture(scope="session")
def tiny_app(tiny_model):
    return create_app(Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings())


@pytest.fixture(scope="session")
def send_request():
    """Return a function (app, method, path, ...) -> the response of a service in this process."""

    def send(app, method, path, **request):
        async def send_one():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await client.request(method, path, **request)

        return asyncio.run(send_one())

    return send


@pytest.fixture(scope="session")
def serve_app():
    """Return a context manager (app) -> its address. A thread serves the app; the socket accepts connections from the start."""

    @contextmanager
    def serve(app):
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        with socket.create_server(("127.0.0.1", 0)) as server_socket:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [server_socket]})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server_socket.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()

    return serve


@pytest.fixture(scope="session")
def detect(send_request, tiny_app):
    """Return a function (image bytes, query...) -> the response of the tiny model's service."""

    def send(content, headers=None, **query):
        return send_request(tiny_app, "POST", "/detect", content=content, params=query, headers=headers)

    return send


@pytest.fixture(scope="session")
def model_file(tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


@pytest.fixture(scope="session")
def served(start_service, model_file):
    """A service process that tests share."""
    service = start_service(model_file)
    yield service
    service.stop()


class RecordingEngine:
    """An engine that records its calls and threads, and waits while `gate` is closed."""

    name, precision = "recording", "float32"

    def __init__(self, model):
        self.engine = OnnxEngine.of(model)
        self.running, self.max_running, self.calls, self.threads = 0, 0, 0, set()
        self.lock, self.gate, self.entered = threading.Lock(), threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, images):
        with self.lock:
            self.running += 1
            self.calls += 1
            self.max_running = max(self.max_running, self.running)
            self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(timeout=30)
        logits = self.engine(images)
        with self.lock:
            self.running -= 1
        return logits


@pytest.fixture(scope="session")
def recording_engine_class():
    """The class of the recording engine."""
    return RecordingEngine


@pytest.fixture
def recording_engine(tiny_model):
    engine = RecordingEngine(tiny_model)
    yield engine
    engine.gate.set()


@pytest.fixture
def make_recording_app(tiny_model, recording_engine):
    """Return a function (settings) -> the service of the tiny model with the recording engine, without its warm-up call."""

    def make(**settings):
        loaded = LoadedModel.of(tiny_model, recording_engine)
        recording_engine.threads.clear()
        recording_engine.entered.clear()
        recording_engine.calls = 0
        return create_app(Registry([loaded]), Settings(**settings))

    return make


@pytest.fixture(scope="session")
def another_model(tiny_model, random_arrays):
    """A model with other labels and boxes than the tiny model."""
    labels = ("apple", "pear", "plum", "quince")
    network = (*tiny_model.spec.network[:-1], replace(tiny_model.spec.network[-1], filters=2 * (5 + len(labels))))
    return Model(
        "another", replace(tiny_model.spec, labels=labels, network=network), random_arrays(network, 7), {"ap50": "0.7500 on set val"}
    )


@pytest.fixture
def models(tmp_path):
    """An empty model folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder
