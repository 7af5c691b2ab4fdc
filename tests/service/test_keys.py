"""Keys: what is closed to whom has none, each protocol's way to send one, and that no key is ever told."""

import json

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
from service.client.client import Client
from service.client.errors import Refused
from service.models.registry import LoadedModel, Registry
from service.settings import Settings, read_settings

KEY, OTHER = new_key(), new_key()
HASHES = f"{HashedKey.of('frigate', KEY)}, {HashedKey.of('porch', OTHER)}"
OPEN = {
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    ("get", "/v2/models/{model}/ready"),
    ("get", "/v2/models/{model}/versions/{version}/ready"),
}


@pytest.fixture(scope="module")
def make_locked(tiny_model):
    """(settings) -> the tiny model's service with these keys."""
    return lambda **settings: create_app(
        Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings(key_hashes=HASHES, **settings)
    )


@pytest.fixture(scope="module")
def locked_app(make_locked):
    return make_locked()


@pytest.fixture(scope="module")
def locked(start_service, model_file):
    """A process that has the keys from its environment."""
    service = start_service(model_file, BOXWRIGHT_KEY_HASHES=HASHES)
    yield service
    service.stop()


def operations(app):
    return [(method, path) for path, methods in app.openapi()["paths"].items() for method in methods]


def real(path):
    return path.replace("{model}", "tiny-random").replace("{version}", "1")


def test_everything_but_health_wants_a_key(ask, locked_app):
    asked = operations(locked_app)
    assert len(asked) > 20
    answered = {(method, path) for method, path in asked if ask(locked_app, method, real(path)).status_code != 401}
    assert answered == OPEN


def test_with_a_key_nothing_is_refused_for_want_of_one(ask, locked_app):
    for method, path in operations(locked_app):
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"bearer  {OTHER}"}, {"Authorization": "Basic eDp5", "X-API-Key": KEY}):
            assert ask(locked_app, method, real(path), headers=headers).status_code != 401, (method, path, headers)


def test_the_page_and_the_documentation_are_open(ask, locked_app):
    for path in ("/", "/web/page.js", "/docs", "/docs/static/swagger-ui.css", "/openapi.json"):
        assert ask(locked_app, "GET", path).status_code == 200, path


@pytest.mark.parametrize("path", ["/nothing", "/livez/", "/web", "/web/../models", "/v2/models/a/b/ready", "/docsx", "/metrics/"])
def test_what_is_not_open_by_name_is_closed_even_where_nothing_is(ask, locked_app, path):
    assert ask(locked_app, "GET", path).status_code == 401


def test_only_reading_is_open(ask, locked_app):
    assert [ask(locked_app, method, "/livez").status_code for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS")] == [
        200,
        200,
        401,
        401,
        401,
    ]


def test_metrics_may_be_open(ask, make_locked):
    app = make_locked(metrics_open=True)
    assert (ask(app, "GET", "/metrics").status_code, ask(app, "GET", "/models").status_code) == (200, 401)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/detect", lambda answer: (answer["type"], answer["detail"])),
        ("/v1/vision/detection", lambda answer: (answer.pop("success"), answer["error"])),
        ("/v2/models/tiny-random/infer", lambda answer: ("", answer["error"])),
        ("/v1/models/tiny-random:predict", lambda answer: ("", answer["error"])),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "nonsense"}, {"Authorization": f"Bearer {KEY[:-1]}"}], ids=["none", "wrong", "cut"])
def test_the_refusal_is_the_protocol_s_own_with_a_challenge(ask, locked_app, path, words, headers):
    answer = ask(locked_app, "POST", path, headers=headers)
    assert answer.status_code == 401
    wrong = ', error="invalid_token"' if headers else ""
    assert answer.headers["www-authenticate"] == f'Bearer realm="boxwright"{wrong}'
    kind, sentence = words(answer.json())
    assert kind in ("urn:boxwright:problem:key-wanted", False, "")
    assert ("none that this service knows" if headers else "X-API-Key: KEY") in sentence


def test_a_body_is_not_taken_in_from_whom_has_no_key(locked):
    def endless():
        while True:
            yield bytes(2**20)

    before = locked.memory()
    with httpx.Client(timeout=30) as client:
        answer = client.post(f"{locked.url}/detect", content=endless())
    assert answer.status_code == 401
    assert locked.memory() - before < 16 * 2**20


@pytest.mark.parametrize("path", ["/v1/vision/detection", "/v1/vision/custom/tiny-random"])
def test_deepstack_s_clients_send_the_key_in_their_form(locked, photo, path):
    def ask(**form):
        return requests.post(locked.url + path, files={"image": photo()}, data=form, timeout=30)

    assert ask(api_key=KEY).json()["success"] is True
    for form in ({}, {"api_key": ""}, {"api_key": KEY + "x"}, {"admin_key": KEY}, {"api_key": "é"}):
        answer = ask(**form)
        assert (answer.status_code, answer.json()["success"]) == (401, False), form
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    late = requests.post(locked.url + path, files=[("image", photo()), ("api_key", (None, OTHER))], timeout=30)
    assert late.json()["success"] is True


def test_who_has_no_key_is_told_nothing_else_of_the_form(locked):
    for request in ({"data": b"x"}, {"files": {"picture": b"x"}}, {"data": b"", "headers": {"Content-Encoding": "gzip"}}):
        assert requests.post(f"{locked.url}/v1/vision/detection", timeout=30, **request).status_code == 401


@pytest.mark.parametrize(
    "form", [{"data": {"api_key": KEY}}, {"files": {"api_key": (None, KEY)}}, {"headers": {"X-API-Key": KEY}}], ids=list
)
def test_deepstack_s_list_takes_either_kind_of_form(locked, form):
    assert requests.post(f"{locked.url}/v1/vision/custom/list", timeout=30, **form).json()["models"] == ["tiny-random"]


@pytest.mark.parametrize("form", [{}, {"data": {"api_key": "x"}}, {"files": {"api_key": (None, "x")}}], ids=list)
def test_deepstack_s_list_is_closed_without_it(locked, form):
    assert requests.post(f"{locked.url}/v1/vision/custom/list", timeout=30, **form).status_code == 401


def test_tritonclient_sends_it_as_a_header(locked, photo):
    client = InferenceServerClient(f"127.0.0.1:{locked.port}")
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([photo()], object))
    assert client.is_server_ready()
    assert client.is_model_ready("tiny-random")
    with pytest.raises(InferenceServerException, match="wants a key"):
        client.infer("tiny-random", [tensor])
    assert client.infer("tiny-random", [tensor], headers={"Authorization": f"Bearer {KEY}"}).as_numpy("num_detections").size == 1
    client.close()


def test_our_client_sends_it_and_tells_the_refusal(locked, photo):
    with Client(locked.url, api_key=KEY) as client:
        assert client.detect(photo()).model == "tiny-random"
    with Client(locked.url) as client, pytest.raises(Refused, match="wants a key") as error:
        client.models()
    assert error.value.status == 401


def test_an_address_with_a_password_for_a_proxy_does_not_take_the_key_s_place(locked):
    with Client(locked.url.replace("//", "//user:word@"), api_key=KEY) as client:
        assert client.models()


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", "clé", "a\r\nX-Other: b"], ids=["line", "space", "accent", "header"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key):
    with pytest.raises(SettingError, match="the key has") as error:
        Client("http://localhost", api_key=key)
    assert key.strip() not in str(error.value)


def test_the_log_has_the_key_s_name_and_never_a_key(start_service, model_file, photo):
    service = start_service(model_file, BOXWRIGHT_KEY_HASHES=HASHES, BOXWRIGHT_LOG_LEVEL="debug")
    wrong = KEY[:-4] + "abcd"
    for key in (KEY, wrong):
        requests.post(f"{service.url}/detect?api_key={key}", data=photo(), headers={"X-API-Key": key}, timeout=30)
        requests.get(f"{service.url}/models", headers={"Authorization": f"Bearer {key}", "Cookie": key, "Referer": key}, timeout=30)
        requests.post(f"{service.url}/v1/vision/detection", files={"image": b"x"}, data={"api_key": key}, timeout=30)
    assert service.stop() == 0
    log = "".join(service.log)
    assert KEY[:20] not in log
    assert HashedKey.of("x", KEY).digest.hex()[:20] not in log
    lines = [json.loads(line) for line in service.log if '"boxwright.access"' in line]
    assert [line.get("key") for line in lines] == ["frigate"] * 3 + [None] * 3


def test_the_document_tells_what_is_closed_and_how_to_open_it(locked_app, tiny_app):
    document = locked_app.openapi()
    assert document["components"]["securitySchemes"].keys() == {"bearer", "header"}
    for method, path in operations(locked_app):
        operation = document["paths"][path][method]
        closed = (method, path) not in OPEN
        assert operation.get("security") == ([{"bearer": []}, {"header": []}] if closed else None)
        assert ("401" in operation["responses"]) == closed
    assert "securitySchemes" not in tiny_app.openapi()["components"]
    assert not any("401" in tiny_app.openapi()["paths"][path][method]["responses"] for method, path in operations(tiny_app))


def test_keys_are_long_and_no_two_are_alike():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {46}


@given(name=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), key=st.text())
def test_what_is_written_is_read_and_knows_its_key_only(name, key):
    hashed = HashedKey.read(str(HashedKey.of(name, key)))
    assert str(hashed) == str(HashedKey.of(name, key))
    assert key_name([HashedKey.of("first", "x" + key), hashed, HashedKey.of("last", key + "x")], key.encode()) == name
    assert key_name([hashed], (key + "y").encode()) is None


def test_several_keys_hold_from_a_file_or_the_environment(monkeypatch, tmp_path):
    entries = [str(HashedKey.of(name, new_key())) for name in ("old", "new")]
    file = tmp_path / "boxwright.toml"
    file.write_text(f"key_hashes = {json.dumps(entries)}\n", encoding="utf-8")
    assert read_settings(file).key_hashes == entries
    for separator in (",", " ", "\n", ", \n"):
        monkeypatch.setenv("BOXWRIGHT_KEY_HASHES", separator.join(entries) + "\n")
        assert read_settings().key_hashes == entries


@pytest.mark.parametrize(
    "given", ["frigate:hush-hush-hush", "hush-hush-hush", ":" + "0" * 64, "a:" + "0" * 63, [5, "hush-hush-hush"], " ", {"a": "hush"}]
)
def test_what_is_no_hash_is_refused_and_not_repeated(given):
    with pytest.raises(SettingError, match="BOXWRIGHT_KEY_HASHES") as error:
        read_settings(key_hashes=given)
    assert "hush" not in str(error.value)
    assert "hush" not in repr(error.value.__cause__)
