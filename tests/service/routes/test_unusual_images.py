"""Unusual and invalid images over a real socket. The service answers a valid image the same way afterwards."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image

QUARTER_TURN = 6  # EXIF orientation: rotate clockwise to display


def encode(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(width, height, mode="RGB", seed=0):
    """Return coarse noise, which a lossy format keeps distinct from other noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).convert(mode)


def exif_with_orientation(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


FRAMES = [noise(80, 50, "P", seed) for seed in range(3)]
GREY16 = Image.fromarray(np.linspace(0, 65535, 80 * 50).reshape(50, 80).astype(np.uint16))
ACCEPTED = {
    "animated gif": (encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), (80, 50)),
    "cmyk": (encode(noise(80, 50, "CMYK"), "JPEG"), (80, 50)),
    "16 bits": (encode(GREY16, "PNG"), (80, 50)),
    "palette with transparency": (encode(noise(80, 50, "P"), "PNG", transparency=0), (80, 50)),
    "1 x 1": (encode(noise(1, 1), "PNG"), (1, 1)),
    "1 x 5000": (encode(noise(1, 5000), "PNG"), (1, 5000)),
    "5000 x 1": (encode(noise(5000, 1), "JPEG"), (5000, 1)),
    "rotated": (encode(noise(80, 50), "JPEG", exif=exif_with_orientation(QUARTER_TURN)), (50, 80)),
}
VALID_JPEG = encode(noise(200, 150), "JPEG")
REFUSED = {
    "empty": (b"", {}, 400, "empty-image"),
    "text": (b"no image at all, only words", {}, 415, "not-an-image"),
    "a truncated jpeg": (VALID_JPEG[: len(VALID_JPEG) // 2], {}, 422, "damaged-image"),
    "an unknown class": (VALID_JPEG, {"classes": "unicorn"}, 422, "unknown-class"),
    "an unknown model": (VALID_JPEG, {"model": "missing"}, 404, "unknown-model"),
    "a confidence of 2": (VALID_JPEG, {"confidence": "2"}, 422, "bad-parameter"),
    "an unknown parameter": (VALID_JPEG, {"colour": "red"}, 422, "bad-parameter"),
}


@pytest.fixture(scope="module")
def client(served):
    with httpx.Client(base_url=served.url, timeout=60) as client:
        yield client


@pytest.fixture
def unaffected(client):
    """Check after the test that a valid image is answered as before."""

    def detect():
        return client.post("/detect", content=VALID_JPEG, params={"confidence": 0.05}).json()["detections"]

    before = detect()
    assert before
    yield
    assert detect() == before
    assert client.get("/readyz").status_code == 200


@pytest.mark.usefixtures("unaffected")
@pytest.mark.parametrize("name", ACCEPTED)
def test_an_unusual_image_is_answered_with_its_upright_size_and_boxes_inside(client, name):
    data, (width, height) = ACCEPTED[name]
    for form in ("json", "image", "both"):
        response = client.post("/detect", content=data, params={"format": form, "confidence": 0})
        assert response.status_code == 200, response.text
    result = response.json()
    assert result["image"] == {"width": width, "height": height}
    assert result["detections"]
    for box in (detection["box"] for detection in result["detections"]):
        assert 0 <= box["xmin"] <= box["xmax"] <= width
        assert 0 <= box["ymin"] <= box["ymax"] <= height


@pytest.mark.usefixtures("unaffected")
@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_request_is_answered_with_a_problem(client, name):
    data, query, status, slug = REFUSED[name]
    response = client.post("/detect", content=data, params=query)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["type"] == f"urn:boxwright:problem:{slug}"
    assert len(response.json()["detail"]) > 20


@pytest.mark.usefixtures("unaffected")
def test_a_png_with_60000_x_60000_pixels_is_refused_from_its_header(client, png_with_claimed_size):
    response = client.post("/detect", content=png_with_claimed_size(60_000, 60_000))
    assert (response.status_code, response.json()["type"]) == (413, "urn:boxwright:problem:image-too-large")
    assert "60,000 x 60,000" in response.json()["detail"]


def test_the_first_frame_of_an_animated_gif_is_used(client):
    def detect(data):
        return client.post("/detect", content=data, params={"confidence": 0}).json()["detections"]

    animated, *frames = (detect(data) for data in (ACCEPTED["animated gif"][0], *(encode(frame, "GIF") for frame in FRAMES)))
    assert animated == frames[0]
    assert animated not in frames[1:]


def test_boxes_of_a_rotated_image_are_those_of_the_upright_one(client):
    upright = noise(80, 50)
    rotated = upright.transpose(Image.Transpose.ROTATE_90)
    responses = [
        client.post("/detect", content=data, params={"confidence": 0}).json()
        for data in (encode(upright, "PNG"), encode(rotated, "PNG", exif=exif_with_orientation(QUARTER_TURN)), encode(rotated, "PNG"))
    ]
    assert [response["image"] for response in responses] == [{"width": 80, "height": 50}] * 2 + [{"width": 50, "height": 80}]
    assert responses[0]["detections"] == responses[1]["detections"] != responses[2]["detections"]


@pytest.mark.parametrize("path", ["/", "/models", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/detect", "/nowhere"])
def test_head_has_the_status_of_get_and_no_body(client, path):
    head, get = (client.request(method, path) for method in ("HEAD", "GET"))
    assert head.status_code == get.status_code == {"/detect": 405, "/nowhere": 404}.get(path, 200)
    assert head.content == b""
    assert get.content
