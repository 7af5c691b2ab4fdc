"""`boxwright.Client(url).detect(...)`: the same results as with a local model."""

import re
from pathlib import Path

import pytest
from PIL import Image

import boxwright
from detector.imaging.image import read_image
from service.auth.api_keys import HashedKey, new_key
from service.client.errors import RequestRejected

CAT = Path(__file__).resolve().parents[2] / "docs" / "photos" / "cat.jpg"
KEY = new_key()


@pytest.fixture(scope="module")
def service(start_service):
    service = start_service(BOXWRIGHT_KEY_HASHES=str(HashedKey.of("api", KEY)))
    yield service
    service.stop()


def test_a_service_gives_the_same_results_and_drawings_as_a_local_model(service):
    model = boxwright.load("everyday")
    array = read_image(CAT.read_bytes())
    with boxwright.Client(service.url, api_key=KEY) as client:
        for source in (CAT, CAT.read_bytes(), array, Image.fromarray(array)):
            local, remote = model.detect(source), client.detect(source)
            assert remote.to_dict() == local.to_dict()
            assert remote.draw().tobytes() == local.draw().tobytes()
        first, second = client.detect([CAT, CAT], confidence=0.01, iou=0.3, classes=["cat", "dog"])
        assert first.to_dict() == second.to_dict() == model.detect(CAT, confidence=0.01, iou=0.3, classes=["cat", "dog"]).to_dict()


def test_one_label_and_the_suggested_confidence_work_as_with_a_local_model(service):
    with boxwright.Client(service.url, api_key=KEY) as client:
        assert [detection.label for detection in client.detect(CAT, confidence="auto", classes="cat")] == ["cat"]
        assert len(client.detect(CAT, classes="dog")) == 0


def test_a_missing_key_and_an_unknown_model_are_errors(service):
    with boxwright.Client(service.url) as client, pytest.raises(boxwright.BoxwrightError, match="key"):
        client.detect(CAT)
    with boxwright.Client(service.url, api_key=KEY, model="missing") as client, pytest.raises(boxwright.BoxwrightError, match="missing"):
        client.detect(CAT)


def test_the_error_of_an_image_that_the_service_cannot_read_names_its_file(service, tmp_path):
    path = tmp_path / "text.jpg"
    path.write_bytes(b"no image")
    with boxwright.Client(service.url, api_key=KEY) as client:
        with pytest.raises(RequestRejected, match=f"^{re.escape(str(path))}: This is not a supported image") as caught:
            client.detect([CAT, path])
        assert (caught.value.status, caught.value.kind) == (415, "urn:boxwright:problem:not-an-image")
        with pytest.raises(RequestRejected, match=r"^Unknown class"):
            client.detect(CAT, classes="unicorn")


def test_an_invalid_address_is_an_error():
    with pytest.raises(boxwright.BoxwrightError, match="address"):
        boxwright.Client("localhost")
