"""API keys: which endpoints require one, how each protocol sends it, and that no response or log line repeats one."""

import json
import socket
from contextlib import ExitStack, suppress

import httpx
import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from detector.engines.onnxruntime import OnnxEngine
from detector.errors import SettingError
from service.app import create_app
from service.auth.api_keys import HashedKey, key_name, new_key
from service.client.client import ServiceClient
from service.client.errors import RequestRejected
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.routes import deepstack
from service.settings import Settings, read_settings

KEY, OTHER_KEY = new_key(), new_key()
HASHES = f"{HashedKey.of('frigate', KEY)}, {HashedKey.of('porch', OTHER_KEY)}"
OPEN_ENDPOINTS = {
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    ("get", "/v2/models/{model}/ready"),
    ("get", "/v2/models/{model}/versions/{version}/ready"),
    *(("get", f"/v1{folder}/status/{name}") for folder in ("", "/server") for name in ("ping", "updateavailable")),
}


@pytest.fixture(scope="module")
def make_protected_app(tiny_model):
    """Return a function (settings) -> the service of the tiny model with two API keys."""
    return lambda **settings: create_app(
        Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings(key_hashes=HASHES, **settings)
    )


@pytest.fixture(scope="module")
def protected_app(make_protected_app):
    return make_protected_app()


@pytest.fixture(scope="module")
def protected(start_service, model_file):
    """A service process with the API keys in its environment."""
    service = start_service(model_file, BOXWRIGHT_KEY_HASHES=HASHES, BOXWRIGHT_LOG_LEVEL="debug")
    yield service
    service.stop()


def operations(app):
    return [(method, path) for path, methods in app.openapi()["paths"].items() for method in methods]


def fill_placeholders(path):
    return path.replace("{model}", "tiny-random").replace("{version}", "1")


def test_all_endpoints_except_health_require_a_key(send_request, protected_app):
    endpoints = operations(protected_app)
    assert len(endpoints) > 20
    open_endpoints = {
        (method, path) for method, path in endpoints if send_request(protected_app, method, fill_placeholders(path)).status_code != 401
    }
    assert open_endpoints == OPEN_ENDPOINTS


def test_a_valid_key_opens_every_endpoint(send_request, protected_app):
    for method, path in operations(protected_app):
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"bearer  {OTHER_KEY}"}, {"Authorization": "Basic eDp5", "X-API-Key": KEY}):
            assert send_request(protected_app, method, fill_placeholders(path), headers=headers).status_code != 401, (method, path, headers)


def test_the_page_and_the_documentation_need_no_key(send_request, protected_app):
    for path in ("/", "/web/main.js", "/docs", "/docs/static/swagger-ui.css", "/openapi.json"):
        assert send_request(protected_app, "GET", path).status_code == 200, path


@pytest.mark.parametrize("path", ["/nothing", "/livez/x", "/web", "/web/../models", "/v2/models/a/b/ready", "/docsx", "/metrics/"])
def test_unknown_paths_are_not_revealed_without_a_key(send_request, protected_app, path):
    assert send_request(protected_app, "GET", path).status_code == 401


def test_only_get_and_head_are_open(send_request, protected_app):
    assert [send_request(protected_app, method, "/livez").status_code for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS")] == [
        200,
        200,
        401,
        401,
        401,
    ]


def test_metrics_can_be_exempted_from_the_key(send_request, make_protected_app):
    app = make_protected_app(metrics_open=True)
    assert (send_request(app, "GET", "/metrics").status_code, send_request(app, "GET", "/models").status_code) == (200, 401)


@pytest.mark.parametrize(
    ("path", "read_error"),
    [
        ("/detect", lambda response: (response["type"], response["detail"])),
        ("/v1/vision/detection", lambda response: (response.pop("success"), response["error"])),
        ("/v2/models/tiny-random/infer", lambda response: ("", response["error"])),
        ("/v1/models/tiny-random:predict", lambda response: ("", response["error"])),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "nonsense"}, {"Authorization": f"Bearer {KEY[:-1]}"}], ids=["none", "wrong", "cut"])
def test_a_missing_or_unknown_key_is_refused_in_the_format_of_the_protocol(send_request, protected_app, path, read_error, headers):
    response = send_request(protected_app, "POST", path, headers=headers)
    assert response.status_code == 401
    wrong = ', error="invalid_token"' if headers else ""
    assert response.headers["www-authenticate"] == f'Bearer realm="boxwright"{wrong}'
    kind, sentence = read_error(response.json())
    assert kind in ("urn:boxwright:problem:key-required", False, "")
    assert ("Unknown API key" if headers else "X-API-Key: KEY") in sentence


def test_a_body_without_a_key_is_not_read_into_memory(protected):
    def endless():
        while True:
            yield bytes(2**20)

    before = protected.memory()
    with httpx.Client(timeout=30) as client:
        response = client.post(f"{protected.url}/detect", content=endless())
    assert response.status_code == 401
    assert protected.memory() - before < 16 * 2**20


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


def test_long_url_encoded_form_without_a_key_is_not_parsed(protected_app, send_request, monkeypatch):
    """Splitting 20 MB took 3.4 s and blocked the event loop."""
    monkeypatch.setattr(deepstack, "parse_qsl", lambda body: pytest.fail(f"parsed {len(body)} bytes"))
    body, headers = b"a=" + b"%41" * 2000, {"content-type": "application/x-www-form-urlencoded"}
    assert send_request(protected_app, "POST", "/v1/vision/custom/list", content=body, headers=headers).status_code == 401


def test_tritonclient_sends_the_key_as_a_header(protected, make_image_bytes):
    client = InferenceServerClient(f"127.0.0.1:{protected.port}")
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([make_image_bytes()], object))
    assert client.is_server_ready()
    assert client.is_model_ready("tiny-random")
    with pytest.raises(InferenceServerException, match="requires an API key"):
        client.infer("tiny-random", [tensor])
    assert client.infer("tiny-random", [tensor], headers={"Authorization": f"Bearer {KEY}"}).as_numpy("num_detections").size == 1
    client.close()


def test_our_client_sends_the_key_and_reports_a_missing_one(protected, make_image_bytes):
    with ServiceClient(protected.url, api_key=KEY) as client:
        assert client.detect(make_image_bytes()).model == "tiny-random"
    with ServiceClient(protected.url) as client, pytest.raises(RequestRejected, match="requires an API key") as error:
        client.models()
    assert error.value.status == 401


def test_a_password_in_the_address_does_not_replace_the_key(protected):
    with ServiceClient(protected.url.replace("//", "//user:word@"), api_key=KEY) as client:
        assert client.models()


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", "clé", "a\r\nX-Other: b"], ids=["line", "space", "accent", "header"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key):
    with pytest.raises(SettingError, match=r"the (key has|API key contains)") as error:
        ServiceClient("http://localhost", api_key=key)
    assert key.strip() not in str(error.value)


def test_the_log_has_the_name_of_the_key_and_never_the_key(protected, make_image_bytes, lines_since):
    service, start = protected, len(protected.log)
    wrong = KEY[:-4] + "abcd"
    for key in (KEY, wrong):
        requests.post(f"{service.url}/detect?api_key={key}", data=make_image_bytes(), headers={"X-API-Key": key}, timeout=30)
        requests.get(f"{service.url}/models", headers={"Authorization": f"Bearer {key}", "Cookie": key, "Referer": key}, timeout=30)
        requests.post(f"{service.url}/v1/vision/detection", files={"image": b"x"}, data={"api_key": key}, timeout=30)
    access = '"boxwright.access"'
    lines = lines_since(service, start, lambda lines: sum(access in line for line in lines) == 6)
    log = "".join(lines)
    assert KEY[:20] not in log
    assert HashedKey.of("x", KEY).digest.hex()[:20] not in log
    keys = [json.loads(line).get("key") for line in lines if access in line]
    assert keys == ["frigate"] * 3 + [None] * 3


def test_openapi_documents_which_endpoints_require_a_key(protected_app, tiny_app):
    document = protected_app.openapi()
    assert document["components"]["securitySchemes"].keys() == {"bearer", "header"}
    for method, path in operations(protected_app):
        operation = document["paths"][path][method]
        needs_key = (method, path) not in OPEN_ENDPOINTS
        assert operation.get("security") == ([{"bearer": []}, {"header": []}] if needs_key else None)
        assert ("401" in operation["responses"]) == needs_key
    assert "securitySchemes" not in tiny_app.openapi()["components"]
    assert not any("401" in tiny_app.openapi()["paths"][path][method]["responses"] for method, path in operations(tiny_app))


def test_new_keys_are_long_and_unique():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {46}


@given(name=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), key=st.text())
def test_a_hash_is_read_back_and_matches_only_its_key(name, key):
    hashed = HashedKey.read(str(HashedKey.of(name, key)))
    assert str(hashed) == str(HashedKey.of(name, key))
    assert key_name([HashedKey.of("first", "x" + key), hashed, HashedKey.of("last", key + "x")], key.encode()) == name
    assert key_name([hashed], (key + "y").encode()) is None


def test_several_keys_are_read_from_a_file_or_the_environment(monkeypatch, tmp_path):
    entries = [str(HashedKey.of(name, new_key())) for name in ("old", "new")]
    file = tmp_path / "boxwright.toml"
    file.write_text(f"key_hashes = {json.dumps(entries)}\n", encoding="utf-8")
    assert read_settings(file).key_hashes == entries
    for separator in (",", " ", "\n", ", \n"):
        monkeypatch.setenv("BOXWRIGHT_KEY_HASHES", separator.join(entries) + "\n")
        assert read_settings().key_hashes == entries


@pytest.mark.parametrize(
    "value", ["frigate:hush-hush-hush", "hush-hush-hush", ":" + "0" * 64, "a:" + "0" * 63, [5, "hush-hush-hush"], " ", {"a": "hush"}]
)
def test_an_invalid_hash_is_refused_and_not_repeated(value):
    with pytest.raises(SettingError, match="BOXWRIGHT_KEY_HASHES") as error:
        read_settings(key_hashes=value)
    assert "hush" not in str(error.value)
    assert "hush" not in repr(error.value.__cause__)


@pytest.mark.parametrize("path", ["/v2/models/other/ready", "/v2/models/tiny-random/versions/7/ready"])
def test_readiness_of_an_unknown_model_reveals_nothing_without_a_key(send_request, protected_app, path):
    responses = [send_request(protected_app, "GET", path, headers=headers) for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": KEY})]
    assert [response.status_code for response in responses] == [404] * 3
    assert responses[0].json() == responses[1].json() == {"error": "No such model is ready."}
    assert "tiny-random" in responses[2].json()["error"]


def test_keys_in_forms_can_be_disabled(send_request, make_protected_app, make_image_bytes):
    app = make_protected_app(keys_in_forms=False)
    form = {"files": {"image": make_image_bytes()}, "data": {"api_key": KEY}}
    assert send_request(app, "POST", "/v1/vision/detection", **form).status_code == 401
    assert send_request(app, "POST", "/v1/vision/custom/list", data={"api_key": KEY}).status_code == 401
    assert send_request(app, "POST", "/v1/vision/detection", headers={"X-API-Key": KEY}, **form).status_code == 200


def test_stalled_uploads_without_a_key_do_not_use_the_memory_of_requests_with_a_key(protected, make_image_bytes):
    """Repeat shared/attacks/deepstack_hold.py. A key may be in the form, so the service reads the body before it checks the key."""
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
