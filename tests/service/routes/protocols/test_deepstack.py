"""The DeepStack interface, with requests that have the bytes of real clients."""

import json
import socket

import pytest
import requests

BOUNDARY = b"0123456789abcdef0123456789abcdef"


def check_same(predictions, detections):
    """Check that predictions are the native detections, with corners rounded to whole pixels."""
    assert [(prediction["label"], prediction["confidence"]) for prediction in predictions] == [
        (detection["label"], detection["score"]) for detection in detections
    ]
    for prediction, detection in zip(predictions, detections, strict=True):
        for edge, value in detection["box"].items():
            assert abs(prediction[f"{edge[0]}_{edge[1:]}"] - value) <= 0.505


def send(served, path, headers, body):
    """Send one request as bytes over a socket; return (status, JSON)."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        head = [
            b"POST " + path + b" HTTP/1.1",
            b"Host: 127.0.0.1",
            *headers,
            b"Content-Length: %d" % len(body),
            b"Connection: close",
            b"",
            b"",
        ]
        client.sendall(b"\r\n".join(head) + body)
        response = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, content = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


def part(disposition, data, *headers):
    return b"\r\n".join((b"--" + BOUNDARY, b"Content-Disposition: form-data; " + disposition, *headers, b"", data, b""))


def frigate_form(image_bytes):
    """Encode a form as python-requests encodes data={"api_key": ""}, files={"image": bytes}: the file name equals the field name."""
    return part(b'name="api_key"', b"") + part(b'name="image"; filename="image"', image_bytes) + b"--" + BOUNDARY + b"--\r\n"


def blue_iris_form(image_bytes):
    """Encode a form as .NET's MultipartFormDataContent does: names without quotes, and a content type for every part."""
    image = part(b"name=image; filename=snapshot.jpg; filename*=utf-8''snapshot.jpg", image_bytes, b"Content-Type: image/jpeg")
    return image + part(b"name=min_confidence", b"0.05", b"Content-Type: text/plain; charset=utf-8") + b"--" + BOUNDARY + b"--\r\n"


def minimal_form(image_bytes):
    """Encode a form with an unknown field. Its image has no file name and no content type."""
    return (
        part(b'name="image"', image_bytes)
        + part(b'name="min_confidence"', b"0.05")
        + part(b'name="admin_key"', b"x")
        + b"--"
        + BOUNDARY
        + b"--\r\n"
    )


@pytest.mark.parametrize("path", [b"/v1/vision/detection", b"/v1/vision/custom/tiny-random"])
def test_a_request_of_frigate_gets_the_native_detections(served, native, make_image_bytes, path):
    agent = [b"User-Agent: python-requests/2.32.3", b"Accept-Encoding: gzip, deflate", b"Accept: */*", b"Connection: keep-alive"]
    headers = [*agent, b"Content-Type: multipart/form-data; boundary=" + BOUNDARY]
    status, response = send(served, path, headers, frigate_form(make_image_bytes()))
    expected = native(make_image_bytes(), confidence=0.4)
    assert status == 200
    assert list(response) == ["success", "predictions", "count", "inferenceMs", "processMs"]
    assert response["success"] is True
    check_same(response["predictions"], expected)
    assert response["count"] == len(expected) > 0
    assert 0 <= response["inferenceMs"] <= response["processMs"]
    assert isinstance(response["processMs"], int)


@pytest.mark.parametrize(("body", "boundary"), [(blue_iris_form, b'"' + BOUNDARY + b'"'), (minimal_form, BOUNDARY)])
def test_clients_with_other_forms_are_answered(served, native, make_image_bytes, body, boundary):
    status, response = send(
        served, b"/v1/vision/detection", [b"Content-Type: multipart/form-data; boundary=" + boundary], body(make_image_bytes())
    )
    assert status == 200
    check_same(response["predictions"], native(make_image_bytes()))
    assert response["count"] > 2


def test_home_assistant_sends_the_same_form_as_frigate(make_image_bytes):
    """Both call requests.post(url, data={"api_key": ...}, files={"image": bytes}), which must send the bytes of `frigate_form`."""
    prepared = requests.Request("POST", "http://localhost/", data={"api_key": ""}, files={"image": make_image_bytes()}).prepare()
    boundary = prepared.headers["Content-Type"].partition("boundary=")[2].encode()
    assert prepared.body.replace(boundary, BOUNDARY) == frigate_form(make_image_bytes())


@pytest.mark.parametrize(("form", "confidence"), [({}, 0.05), ({"min_confidence": ""}, 0.05), ({"min_confidence": "0.3"}, 0.3)])
def test_the_address_may_have_the_confidence_that_the_form_lacks(served, native, make_image_bytes, form, confidence):
    address = f"{served.url}/v1/vision/detection?min_confidence=0.05"
    response = requests.post(address, files={"image": make_image_bytes()}, data=form, timeout=30).json()
    check_same(response["predictions"], native(make_image_bytes(), confidence=confidence))


def test_corners_are_whole_pixels_and_the_best_score_comes_first(served, make_image_bytes):
    low_confidence = {"min_confidence": "0.01"}
    response = requests.post(
        f"{served.url}/v1/vision/detection", files={"image": make_image_bytes(300, 200)}, data=low_confidence, timeout=30
    ).json()
    scores = [prediction["confidence"] for prediction in response["predictions"]]
    assert len(scores) > 3
    assert scores == sorted(scores, reverse=True)
    for prediction in response["predictions"]:
        assert [type(prediction[corner]) for corner in ("x_min", "y_min", "x_max", "y_max")] == [int] * 4
        assert 0 <= prediction["x_min"] <= prediction["x_max"] <= 300
        assert 0 <= prediction["y_min"] <= prediction["y_max"] <= 200


def test_the_query_may_limit_the_boxes(served, make_image_bytes):
    url = f"{served.url}/v1/vision/detection?max_detections=2"
    assert requests.post(url, files={"image": make_image_bytes()}, data={"min_confidence": 0.01}, timeout=30).json()["count"] == 2


@pytest.mark.parametrize("request_arguments", [{}, {"data": {"api_key": "x"}}, {"files": {"api_key": (None, "x")}}], ids=str)
def test_the_model_list_ignores_the_body(served, request_arguments):
    response = requests.post(f"{served.url}/v1/vision/custom/list", timeout=30, **request_arguments)
    assert response.json() == {"success": True, "models": ["tiny-random"]}


@pytest.mark.parametrize(
    ("path", "request_arguments", "status", "message"),
    [
        ("detection", {"files": {"image": b"no image"}}, 400, "the image format is unknown"),
        ("detection", {"files": {"image": b""}}, 400, "empty"),
        ("detection", {"files": {"picture": b"x"}}, 400, "one field 'image', got 0"),
        ("detection", {"files": [("image", b"x"), ("image", b"y")]}, 400, "one field 'image', got 2"),
        ("detection", {"data": {"image": "x"}}, 400, "not a form of type multipart"),
        ("detection", {"files": {"image": b"x"}, "data": {"min_confidence": "high"}}, 400, "min_confidence must be a number"),
        ("detection", {"files": {"image": b"x"}, "data": {"min_confidence": "nan"}}, 400, "min_confidence must be a number"),
        ("detection", {"files": {"image": b"x"}, "data": {"min_confidence": "40"}}, 400, "from 0 to 1, got '40'"),
        ("detection", {"files": {"Image": b"x"}}, 400, "one field 'image', got 0. Its fields are 'Image'. Send"),
        ("detection", {"files": {"image": (None, "dog.jpg")}}, 400, "write '@' before the name: image=@dog.jpg"),
        ("detection?confidence=0.5", {"files": {"image": b"x"}}, 400, "Did you mean 'min_confidence'?"),
        ("detection?max_detection=5", {"files": {"image": b"x"}}, 400, "Did you mean 'max_detections'?"),
        ("detection", {"data": b"x" * (20 * 1024**2 + 1)}, 413, "The body"),
        ("custom/unknown", {"files": {"image": b"x"}}, 404, "tiny-random"),
        ("face", {"files": {"image": b"x"}}, 404, "There is nothing at"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_errors_have_the_format_of_deepstack(served, path, request_arguments, status, message):
    response = requests.post(f"{served.url}/v1/vision/{path}", timeout=30, **request_arguments)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["success", "error"]
    assert response.json()["success"] is False
    assert message in response.json()["error"]


def test_a_wrong_method_has_the_format_of_deepstack(served):
    response = requests.get(f"{served.url}/v1/vision/detection", timeout=30)
    assert (response.status_code, response.headers["allow"], response.json()["success"]) == (405, "POST", False)


def test_a_square_region_of_frigate_is_answered(served, native, make_image_bytes):
    region = make_image_bytes(320, 320)
    response = requests.post(f"{served.url}/v1/vision/detection", files={"image": region}, data={"api_key": ""}, timeout=30)
    check_same(response.json()["predictions"], native(region, confidence=0.4))


@pytest.mark.parametrize(
    "path", ["//v1/vision/detection", "///v1/vision//custom/tiny-random", "/v1/vision/detection/", "/v1/vision/custom/tiny-random//"]
)
def test_repeated_and_trailing_slashes_in_the_path_are_ignored(served, native, make_image_bytes, path):
    response = requests.post(served.url + path, files={"image": make_image_bytes()}, timeout=30)
    check_same(response.json()["predictions"], native(make_image_bytes(), confidence=0.4))


def test_errors_of_a_path_with_repeated_slashes_have_the_format_of_deepstack(served):
    response = requests.post(f"{served.url}//v1/vision/face", timeout=30)
    assert (response.status_code, response.json()["success"]) == (404, False)


@pytest.mark.parametrize("folder", ["/v1", "/v1/server"])
def test_status_requests_of_codeproject_ai_clients_are_answered(served, folder):
    assert requests.get(f"{served.url}{folder}/status/ping", timeout=30).json() == {"success": True}
    update = requests.get(f"{served.url}{folder}/status/updateavailable", timeout=30).json()
    assert (update["success"], update["updateAvailable"]) == (True, False)
    assert update["version"]


@pytest.mark.parametrize("path", ["/v1/status/ping/", "/v2/health/ready/", "/v2/", "/v1/models/tiny-random/", "/livez/", "/docs/"])
def test_a_path_with_a_trailing_slash_is_answered_without_a_redirect(served, path):
    plain = requests.get(served.url + path.rstrip("/"), timeout=30)
    response = requests.get(served.url + path, timeout=30, allow_redirects=False)
    assert (response.status_code, response.content) == (200, plain.content)


def test_an_image_is_detected_at_the_native_path_with_a_trailing_slash(served, make_image_bytes):
    assert requests.post(f"{served.url}/detect/", data=make_image_bytes(), timeout=30).status_code == 200


@pytest.mark.parametrize("path", ["/v1/image/alpr", "/v1/vision/face", "/v1/text/summarize", "/v1/backup", "/v1"])
def test_other_modules_of_codeproject_ai_are_refused_in_its_format(served, path):
    response = requests.post(f"{served.url}{path}", files={"image": b"x"}, timeout=30)
    assert response.status_code == 404
    assert list(response.json()) == ["success", "error"]
