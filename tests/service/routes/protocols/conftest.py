"""Fixtures of the protocol tests: a running service, and the detections of its native endpoint."""

import httpx
import pytest

CONFIDENCE = 0.05


@pytest.fixture(scope="session")
def http(served):
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def native(http):
    """Return a function (image bytes, query...) -> the detections of POST /detect."""

    def detect(image_bytes, **query):
        response = http.post("/detect", content=image_bytes, params={"confidence": CONFIDENCE, **query})
        assert response.status_code == 200, response.text
        return response.json()["detections"]

    return detect


@pytest.fixture(scope="session")
def two_images(make_image_bytes):
    """Two images that differ in size, format and number of boxes."""
    return [make_image_bytes(80, 50), make_image_bytes(33, 64, form="PNG")]
