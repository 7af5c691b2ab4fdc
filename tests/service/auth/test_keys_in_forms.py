"""DeepStack clients send the API key in the form."""

import socket
from contextlib import ExitStack, suppress

import httpx
import pytest
import requests

from service.routes import deepstack
from tests.service.auth.keys import KEY, OTHER_KEY


@pytest.mark.parametrize("path", ["/v1/vision/detection", "/v1/vision/custom/tiny-random"])
def test_deepstack_clients_may_send_the_key_in_the_form(protected, make_image_bytes, path):
    def send_request(**form):
        return requests.post(protected.url + path, files={"image": make_image_bytes()}, data=form, timeout=30)

    assert send_request(api_key=KEY).json()["success"] is True
    for form in ({}, {"api_key": ""}, {"api_key": KEY + "x"}, {"admin_key": KEY}, {"api_key": "é"}):
        response = send_request(**form)
        assert (response.status_code, response.json()["success"]) == (401, False), form
        assert response.headers["www-authenticate"].startswith("Bearer ")
    key_after_image = requests.post(protected.url + path, files=[("image", make_image_bytes()), ("api_key", (None, OTHER_KEY))], timeout=30)
    assert key_after_image.json()["success"] is True


def test_without_a_key_errors_of_the_form_are_not_revealed(protected):
    for request in ({"data": b"x"}, {"files": {"picture": b"x"}}, {"data": b"", "headers": {"Content-Encoding": "gzip"}}):
        assert requests.post(f"{protected.url}/v1/vision/detection", timeout=30, **request).status_code == 401


@pytest.mark.parametrize(
    "form", [{"data": {"api_key": KEY}}, {"files": {"api_key": (None, KEY)}}, {"headers": {"X-API-Key": KEY}}], ids=list
)
def test_deepstack_list_accepts_the_key_in_either_kind_of_form(protected, form):
    assert requests.post(f"{protected.url}/v1/vision/custom/list", timeout=30, **form).json()["models"] == ["tiny-random"]


@pytest.mark.parametrize("form", [{}, {"data": {"api_key": "x"}}, {"files": {"api_key": (None, "x")}}], ids=list)
def test_deepstack_list_requires_a_key(protected, form):
    assert requests.post(f"{protected.url}/v1/vision/custom/list", timeout=30, **form).status_code == 401


@pytest.mark.parametrize("text", [b"name=M%C3%BCller", "name=Müller".encode(), b"name=%ff&%ff=\xff", b"api_key=%C3%BC", b"\xff"], ids=list)
def test_url_encoded_form_may_have_any_bytes(protected, text):
    def status(body):
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return requests.post(f"{protected.url}/v1/vision/custom/list", data=body, headers=headers, timeout=30).status_code

    assert status(text) == 401
    assert status(text + b"&api_key=" + KEY.encode()) == 200


def test_long_url_encoded_form_without_a_key_is_not_parsed(protected_app, send_request, monkeypatch):
    """Splitting 20 MB took 3.4 s and blocked the event loop."""
    monkeypatch.setattr(deepstack, "parse_qsl", lambda body, **_: pytest.fail(f"parsed {len(body)} bytes"))
    body, headers = b"a=" + b"%41" * 2000, {"content-type": "application/x-www-form-urlencoded"}
    assert send_request(protected_app, "POST", "/v1/vision/custom/list", content=body, headers=headers).status_code == 401


def test_keys_in_forms_can_be_disabled(send_request, make_protected_app, make_image_bytes):
    app = make_protected_app(keys_in_forms=False)
    form = {"files": {"image": make_image_bytes()}, "data": {"api_key": KEY}}
    assert send_request(app, "POST", "/v1/vision/detection", **form).status_code == 401
    assert send_request(app, "POST", "/v1/vision/custom/list", data={"api_key": KEY}).status_code == 401
    assert send_request(app, "POST", "/v1/vision/detection", headers={"X-API-Key": KEY}, **form).status_code == 200


def test_stalled_uploads_without_a_key_do_not_use_the_memory_of_requests_with_a_key(protected, make_image_bytes):
    """A key may be in the form, so the service reads the body before it checks the key."""
    length, part = 19 * 2**20, bytes(2**20)
    head = b"POST /v1/vision/detection HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
    before = protected.memory()
    with ExitStack() as stack:
        for _ in range(12):
            upload = stack.enter_context(socket.create_connection(("127.0.0.1", protected.port), timeout=30))
            with suppress(OSError):  # the service refuses the uploads above its limit
                upload.sendall(head + b"Content-Length: %d\r\n\r\n--edge\r\n" % length)
                for _ in range(8):
                    upload.sendall(part)
        with httpx.Client(base_url=protected.url, headers={"X-API-Key": KEY}, timeout=60) as client:
            responses = [client.post("/detect", content=make_image_bytes()).status_code for _ in range(5)]
        grown = protected.memory() - before
    assert responses == [200] * 5
    assert grown < 160 * 2**20  # the limit of 64 MiB, the buffers of the connections, and the memory of five images
