"""Common mistakes in requests to POST /detect get a message with the correct request."""

import gzip
import io
import json
from base64 import b64encode

import pytest
from PIL import Image

JSON = {"content-type": "application/json"}
URL = "https://example.com/dog.jpg"


def as_sent_by_curl_d(file):
    """Remove what `curl -d @FILE` removes."""
    return bytes(byte for byte in file if byte not in b"\0\r\n")


def gradient_file(form):
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, form)
    return file.getvalue()


def refusal(response, status, slug):
    problem = response.json()
    assert (response.status_code, problem["type"]) == (status, f"urn:boxwright:problem:{slug}"), response.text
    return problem["detail"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_an_image_sent_with_curl_d_is_recognised(detect, form):
    response = detect(as_sent_by_curl_d(gradient_file(form)), {"content-type": "application/x-www-form-urlencoded"})
    assert "Use --data-binary instead of -d" in refusal(response, 422, "damaged-image")


def test_an_image_sent_with_curl_data_binary_is_read(detect):
    assert detect(gradient_file("JPEG"), {"content-type": "application/x-www-form-urlencoded"}).status_code == 200


def test_a_gzip_file_is_named(detect, make_image_bytes):
    assert "compressed with gzip" in refusal(detect(gzip.compress(make_image_bytes())), 415, "not-an-image")
    assert "compressed (gzip)" in refusal(detect(gzip.compress(make_image_bytes()), {"content-encoding": "gzip"}), 415, "unsupported-body")


def test_a_url_is_not_downloaded(detect):
    assert "URLs are not downloaded" in refusal(detect(URL.encode()), 415, "not-an-image")
    for body in ({"image": URL}, {"images": [URL]}):
        assert "is a URL" in refusal(detect(json.dumps(body), JSON), 400, "bad-json")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("b'/9j/4AAQSkZJRg=='", "Send base64.b64encode(data).decode()"),
        ("/home/me/dog.jpg", "is a file name ('/home/me/dog.jpg'), and the service reads no files"),
        ("C:\\photos\\my dog.png", "is a file name"),
        ("x" * 400 + ".jpg", "is not base64"),
    ],
)
def test_other_texts_in_place_of_base64_are_recognised(detect, text, advice):
    for body in ({"image": text}, {"images": [text]}):
        assert advice in refusal(detect(json.dumps(body), JSON), 400, "bad-json")


@pytest.mark.parametrize("key", ["img", "url", "instances", "confidence"])
def test_a_wrong_json_key_gets_a_message_with_the_valid_keys(detect, key):
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
    response = detect(form, {"content-type": "multipart/form-data; boundary=edge"})
    assert "image=@photos/dog.jpg" in refusal(response, 400, "bad-form")


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("errors", ["replace", None])
def test_an_image_that_was_converted_to_text_is_recognised(detect, form, errors):
    """Node.js decodes a buffer like this, and some clients decode bytes as Latin-1."""
    file = gradient_file(form)
    text = file.decode("utf-8", errors) if errors else file.decode("latin-1")
    assert "converted to text" in refusal(detect(text.encode()), 415, "not-an-image")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"DATA:image/JPEG;Base64,{text}",
        lambda text: f"data:image/jpeg;base64, {text}",
        lambda text: f"{text}\n",
        lambda text: f" {text}\r\n",
    ],
)
def test_data_urls_in_capitals_and_surrounding_space_are_accepted(detect, make_image_bytes, change):
    assert detect(json.dumps({"image": change(b64encode(make_image_bytes()).decode())}), JSON).status_code == 200


def test_url_safe_base64_is_named(detect):
    assert "the URL-safe alphabet" in refusal(detect(json.dumps({"image": "AA-_"}), JSON), 400, "bad-json")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "Buffer", "data": [255, 216]}, "a Node.js buffer. Send buffer.toString('base64')"),
        ({"b64": "AAAA"}, "got an object"),
        ([255, 216], "got a list"),
        (5, "got a number"),
        (True, "got a Boolean"),
    ],
)
def test_other_json_values_in_place_of_base64_are_named(detect, value, message):
    assert message in refusal(detect(json.dumps({"image": value}), JSON), 400, "bad-json")


def test_line_breaks_of_base64_in_json_get_advice(detect):
    assert "'base64 -w0 FILE' writes none" in refusal(detect('{"image": "AAAA\nAAAA"}', JSON), 400, "bad-json")


def test_json_may_begin_with_a_byte_order_mark(detect, make_image_bytes):
    body = json.dumps({"image": b64encode(make_image_bytes()).decode()}).encode()
    assert detect(b"\xef\xbb\xbf" + body, JSON).status_code == 200


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_json_in_utf_16_is_named(detect, encoding):
    assert "encoded in UTF-16. Send it in UTF-8" in refusal(detect('{"image": "AAAA"}'.encode(encoding), JSON), 400, "bad-json")


@pytest.mark.parametrize("path", ["/v2/models/tiny-random/infer", "/v1/models/tiny-random:predict"])
def test_an_image_sent_to_an_endpoint_for_json_is_recognised(send_request, tiny_app, make_image_bytes, path):
    response = send_request(tiny_app, "POST", path, content=make_image_bytes())
    assert response.status_code == 400
    assert "The body is an image file, but this endpoint expects JSON" in response.json()["error"]


def test_the_message_about_a_parameter_is_in_plain_words(detect, make_image_bytes):
    detail = refusal(detect(make_image_bytes(), confidence="50%"), 422, "bad-parameter")
    assert detail == "confidence: must be a number from 0 to 1, or auto, got '50%'."


def test_classes_separated_by_commas_get_advice(detect, make_image_bytes):
    assert "Name 'cat' and 'dog' separately" in refusal(detect(make_image_bytes(), classes="cat,dog"), 422, "unknown-class")


def test_documentation_page_shows_detect_first_and_collapses_the_schemas(send_request, tiny_app):
    document = send_request(tiny_app, "GET", "/openapi.json").json()
    used = {tag for path in document["paths"].values() for operation in path.values() for tag in operation["tags"]}
    order = [tag["name"] for tag in document["tags"]]
    assert order[0] == "detect"
    assert set(order) == used
    assert '"defaultModelsExpandDepth": 0' in send_request(tiny_app, "GET", "/docs").text
