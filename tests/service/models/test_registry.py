"""The registry of models, through the service's endpoints."""

from time import process_time

import numpy as np
import pytest

from detector.engines.onnxruntime import OnnxEngine
from detector.network.layers import Conv
from detector.network.shapes import parameters
from detector.network.spec import Model, ModelSpec
from service.app import create_app
from service.models.loaded_model import LoadedModel, estimate_memory
from service.models.registry import Registry
from service.settings import Settings


def test_models_are_described(send_request, tiny_app, tiny_model):
    assert send_request(tiny_app, "GET", "/models").json() == {
        "models": [
            {
                "name": "tiny-random",
                "version": "1",
                "labels": ["cat", "dog", "person"],
                "input_size": 64,
                "parameters": parameters(tiny_model.spec.network),
                "engine": "onnxruntime",
                "precision": "float32",
                "default": True,
                "ap": None,
                "memory_bytes": estimate_memory(tiny_model.spec, None),
                "file": None,
                "versions": [{"version": "1", "state": "AVAILABLE"}],
                "provenance": {"source": "seeded random numbers"},
            }
        ],
        "refused": [],
    }


def test_first_model_is_the_default_and_others_are_selected_by_name(tiny_model, random_arrays, make_image_bytes, send_request):
    other = Model("other", tiny_model.spec, random_arrays(tiny_model.spec.network, 2))
    app = create_app(Registry([LoadedModel.of(model, OnnxEngine.of(model)) for model in (tiny_model, other)]), Settings())
    assert [(model["name"], model["default"]) for model in send_request(app, "GET", "/models").json()["models"]] == [
        ("tiny-random", True),
        ("other", False),
    ]
    responses = [
        send_request(app, "POST", "/detect", content=make_image_bytes(), params={"confidence": 0.01, **query}).json()
        for query in ({}, {"model": "other"})
    ]
    assert [response["model"] for response in responses] == ["tiny-random", "other"]
    assert responses[0]["detections"] != responses[1]["detections"]


def test_warm_up_of_a_model_that_finds_a_box_in_every_cell_is_fast():
    """Suppression of all 49,152 boxes, none of which overlap, would take minutes."""
    network = (Conv("only", 18, normalize=False),)
    spec = ModelSpec(("dog",), ((0.1, 0.1), (0.2, 0.2), (0.3, 0.3)), network, 128)
    model = Model("dense", spec, {"only/kernel": np.zeros((3, 3, 3, 18), np.float32), "only/bias": np.zeros(18, np.float32)})
    started = process_time()
    LoadedModel.of(model, OnnxEngine.of(model))
    assert process_time() - started < 5


def test_registry_refuses_two_models_of_one_name(tiny_model):
    loaded = LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))
    with pytest.raises(ValueError, match="must be unique"):
        Registry([loaded, loaded])


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
def test_without_a_model_the_service_is_alive_and_not_ready(send_request, path):
    app = create_app(Registry(default="mine"), Settings())
    assert send_request(app, "GET", "/livez").status_code == 200
    assert send_request(app, "GET", "/models").json() == {"models": [], "refused": []}
    response = send_request(app, "GET", path)
    assert response.status_code == 503
    assert "No model 'mine' is loaded yet" in response.text
    assert int(response.headers["retry-after"]) > 0


def test_without_a_model_an_image_is_answered_503_and_an_unknown_name_404(send_request, make_image_bytes):
    app = create_app(Registry(), Settings())
    for path, body in (("/detect", make_image_bytes()), ("/v1/vision/detection", make_image_bytes())):
        response = send_request(app, "POST", path, **({"content": body} if path == "/detect" else {"files": {"image": body}}))
        assert response.status_code == 503
        assert "No model is loaded yet" in response.text
    response = send_request(app, "POST", "/detect", content=make_image_bytes(), params={"model": "mine"})
    assert response.status_code == 404
    assert "This service has no models yet" in response.json()["detail"]
