"""POST /detect with several images, and with JSON."""

import base64
import json

import pytest

from tests.service.asgi import without_timing


def to_base64(data):
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def detect_single(http):
    """Return a function (image) -> the response to a request with only this image."""
    return lambda image_bytes: without_timing(http.post("/detect?confidence=0.05", content=image_bytes).json())


def test_several_images_of_a_form_are_answered_in_order(http, detect_single, two_images):
    images = [*two_images, two_images[0]] * 5
    response = http.post("/detect?confidence=0.05", files=[("image", (None, image_bytes)) for image_bytes in images])
    assert list(response.json()) == ["results"]
    assert [without_timing(result) for result in response.json()["results"]] == [detect_single(image_bytes) for image_bytes in images]


def test_json_with_one_image_is_answered_like_a_plain_body(http, detect_single, two_images):
    for value in (to_base64(two_images[0]), "data:image/jpeg;base64," + to_base64(two_images[0])):
        response = http.post("/detect?confidence=0.05", json={"image": value})
        assert without_timing(response.json()) == detect_single(two_images[0])


@pytest.mark.parametrize("count", [1, 2])
def test_json_with_a_list_is_answered_with_a_list(http, detect_single, two_images, count):
    response = http.post("/detect?confidence=0.05", json={"images": [to_base64(image_bytes) for image_bytes in two_images[:count]]})
    assert [without_timing(result) for result in response.json()["results"]] == [
        detect_single(image_bytes) for image_bytes in two_images[:count]
    ]


def test_the_problem_of_an_invalid_image_replaces_its_result_in_the_batch(http, detect_single, two_images):
    broken = two_images[0][:-200]
    images = [two_images[0], b"no image", two_images[1], broken, b""]
    response = http.post("/detect?confidence=0.05", files=[("image", (None, image_bytes)) for image_bytes in images])
    assert response.status_code == 200
    results = response.json()["results"]
    assert [without_timing(results[index]) for index in (0, 2)] == [detect_single(two_images[0]), detect_single(two_images[1])]
    assert [results[index] for index in (1, 3, 4)] == [{"problem": detect_single(images[index])} for index in (1, 3, 4)]
    assert [results[index]["problem"]["status"] for index in (1, 3, 4)] == [415, 422, 400]


def test_format_both_draws_on_every_image(http, two_images):
    response = http.post("/detect?format=both", json={"images": [to_base64(image_bytes) for image_bytes in two_images]})
    assert all(result["annotated"]["base64"] for result in response.json()["results"])


def test_format_image_is_refused_for_several_images(http, two_images):
    response = http.post("/detect?format=image", files=[("image", (None, image_bytes)) for image_bytes in two_images])
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == "format"
    assert "format=both" in response.json()["detail"]


@pytest.mark.parametrize("query", ["confidence=0.1&confidence=0.9", "model=a&model=b", "format=json&iou=0.1&iou=0.1"])
def test_a_repeated_parameter_is_refused(http, make_image_bytes, query):
    response = http.post(f"/detect?{query}", content=make_image_bytes())
    assert (response.status_code, response.json()["type"]) == (422, "urn:boxwright:problem:bad-parameter")
    assert "may be given once, but the request has it 2 times." in response.json()["detail"]
    assert http.post("/detect?classes=cat&classes=dog", content=make_image_bytes()).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "cannot be parsed"),
        (b"{", "cannot be parsed"),
        (b'{"image": NaN}', "cannot be parsed"),
        (b"[" * 300 + b"]" * 300, "recursion"),
        (b"[" + b"[]," * 1_000_001 + b"[]]", "limits are 2,000,000"),
        (b"{" + b",".join(b'"%d":0' % key for key in range(10_001)) + b"}", "limits are 2,000,000, 600,000, 20,000 and 10,000"),
        (b"[]", "/docs"),
        (b"{}", 'must have either "image"'),
        (b'{"image": null}', 'must have either "image"'),
        (b'{"image": "", "images": [""]}', 'must have either "image"'),
        (b'{"photo": "AAAA"}', "unknown key 'photo'"),
        (b'{"image": 7}', "image: must be a string with an image file in base64, got a number"),
        (b'{"image": "AA=A"}', "image: is not base64"),
        (b'{"image": "AA\\nAA"}', "without line breaks"),
        ('{"image": "ÄÖ=="}'.encode(), "image: is not base64"),
        (b'{"image": "data:image/png,AAAA"}', "data URL"),
        (b'{"images": []}', "at least 1"),
        (b'{"images": ["AAAA", 5]}', "images.1: must be"),
        (json.dumps({"images": ["AAAA"] * 17}).encode(), "at most 16"),
    ],
    ids=lambda value: str(value[:30]),
)
def test_invalid_json_is_refused_and_the_message_names_its_location(http, body, message):
    response = http.post("/detect", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (400, "urn:boxwright:problem:bad-json")
    assert message in response.json()["detail"]
    assert len(response.content) < 1000
