"""Common mistakes in requests to POST /detect get an answer that says what to do instead."""

import gzip
import io
import json
from base64 import b64encode

import pytest
from PIL import Image

JSON = {"content-type": "application/json"}
URL = "https://example.com/dog.jpg"


def as_curl_d_sends(file):
    """Remove what `curl -d @FILE` removes."""
    return bytes(byte for byte in file if byte not in b"\0\r\n")


def encoded(form):
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, form)
    return file.getvalue()


def refusal(answer, status, slug):
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"urn:boxwright:problem:{slug}"), answer.text
    return problem["detail"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_an_image_sent_with_curl_d_is_recognised(detect, form):
    answer = detect(as_curl_d_sends(encoded(form)), {"content-type": "application/x-www-form-urlencoded"})
    assert "Use --data-binary instead of -d" in refusal(answer, 422, "damaged-image")


def test_an_image_sent_with_curl_data_binary_is_read(detect):
    assert detect(encoded("JPEG"), {"content-type": "application/x-www-form-urlencoded"}).status_code == 200


def test_a_gzip_file_is_named(detect, make_image_bytes):
    assert "compressed with gzip" in refusal(detect(gzip.compress(make_image_bytes())), 415, "not-an-image")
    assert "compressed (gzip)" in refusal(detect(gzip.compress(make_image_bytes()), {"content-encoding": "gzip"}), 415, "unsupported-body")


def test_a_url_is_not_downloaded(detect):
    assert "URLs are not downloaded" in refusal(detect(URL.encode()), 415, "not-an-image")
    for body in ({"image": URL}, {"images": [URL]}):
        assert "is a URL" in refusal(detect(json.dumps(body), JSON), 400, "bad-json")


@pytest.mark.parametrize("key", ["img", "url", "instances", "confidence"])
def test_a_wrong_json_key_is_answered_with_the_right_ones(detect, key):
    detail = refusal(detect(json.dumps({key: "AAAA"}), JSON), 400, "bad-json")
    assert all(part in detail for part in (f"unknown key '{key}'", '"image"', '"images"', "?confidence=0.5"))


def test_json_without_its_content_type_is_recognised(detect, make_image_bytes):
    body = json.dumps({"image": b64encode(make_image_bytes()).decode()})
    assert "Content-Type: application/json" in refusal(detect(body), 415, "not-an-image")


def test_a_list_instead_of_an_object_is_explained(detect):
    assert "must be an object" in refusal(detect('["AAAA"]', JSON), 400, "bad-json")


def test_an_image_declared_as_json_is_recognised(detect, make_image_bytes):
    assert "content type is JSON" in refusal(detect(make_image_bytes(), JSON), 415, "unsupported-body")


def test_a_url_encoded_form_is_recognised(detect):
    assert "--form image=@FILE" in refusal(detect(f"image={URL}"), 415, "not-an-image")


def test_a_file_name_in_place_of_a_file_is_recognised(detect):
    form = b'--edge\r\nContent-Disposition: form-data; name="image"\r\n\r\nphotos/dog.jpg\r\n--edge--\r\n'
    answer = detect(form, {"content-type": "multipart/form-data; boundary=edge"})
    assert "image=@photos/dog.jpg" in refusal(answer, 400, "bad-form")


def test_documentation_page_shows_detect_first_and_collapses_the_schemas(ask, tiny_app):
    document = ask(tiny_app, "GET", "/openapi.json").json()
    used = {tag for path in document["paths"].values() for operation in path.values() for tag in operation["tags"]}
    order = [tag["name"] for tag in document["tags"]]
    assert order[0] == "detect"
    assert set(order) == used
    assert '"defaultModelsExpandDepth": 0' in ask(tiny_app, "GET", "/docs").text
