"""A service with two API keys, in this process and in its own."""

import pytest

from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings
from tests.service.auth.keys import HASHES


@pytest.fixture(scope="module")
def make_protected_app(tiny_model):
    """Return a function (settings) -> the service of the tiny model with two API keys."""
    return lambda **settings: create_app(
        Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings(key_hashes=HASHES, **settings)
    )


@pytest.fixture(scope="module")
def protected_app(make_protected_app):
    return make_protected_app()


@pytest.fixture(scope="module")
def protected(start_service, model_file):
    """A service process with the API keys in its environment."""
    service = start_service(model_file, BOXWRIGHT_KEY_HASHES=HASHES, BOXWRIGHT_LOG_LEVEL="debug")
    yield service
    service.stop()
