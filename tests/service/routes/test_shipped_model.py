"""`boxwright serve` without arguments: the default model over HTTP."""

import httpx
import pytest


@pytest.fixture(scope="module")
def shipped(start_service):
    service = start_service(BOXWRIGHT_OFFLINE="1")
    yield service
    service.stop()


@pytest.mark.parametrize(("file_name", "label"), [("cat.png", "cat"), ("dog.jpg", "dog")])
def test_default_model_detects_the_object(shipped, shared, file_name, label):
    response = httpx.post(f"{shipped.url}/detect", content=(shared / "photos" / file_name).read_bytes()).json()
    assert response["model"] == "everyday"
    assert response["detections"][0]["label"] == label
    assert response["detections"][0]["score"] > 0.7


def test_default_model_is_listed_with_its_origin(shipped):
    (model,) = httpx.get(f"{shipped.url}/models").json()["models"]
    assert (model["name"], model["default"], model["input_size"]) == ("everyday", True, 320)
    assert "Apache-2.0" in model["provenance"]["backbone"]
