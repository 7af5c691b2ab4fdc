"""Cross-origin requests: refused by browsers unless the origin is configured (Fetch standard)."""

import pytest

from detector.engines.onnxruntime import OnnxEngine
from detector.errors import SettingError
from service.app import create_app
from service.auth.api_keys import HashedKey, new_key
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings, read_settings

PAGE = "https://app.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key,authorization"}


@pytest.fixture(scope="module")
def make_app(tiny_model):
    return lambda **settings: create_app(Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings(**settings))


def cors_headers(response):
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize(("method", "headers"), [("OPTIONS", PREFLIGHT), ("POST", {}), ("GET", {})])
def test_no_origin_is_allowed_by_default(send_request, tiny_app, make_image_bytes, method, headers):
    response = send_request(tiny_app, method, "/detect", headers={"Origin": PAGE} | headers, content=make_image_bytes())
    assert cors_headers(response) == {}
    assert response.status_code == {"OPTIONS": 405, "GET": 405, "POST": 403}[method]


def test_a_configured_origin_may_send_requests_and_read_responses(send_request, make_app, make_image_bytes):
    app = make_app(cors_origins=f"{PAGE}, http://localhost:3000")
    preflight = send_request(app, "OPTIONS", "/detect", headers={"Origin": PAGE} | PREFLIGHT)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert {"x-api-key", "authorization"} <= {name.strip().lower() for name in preflight.headers["access-control-allow-headers"].split(",")}
    response = send_request(app, "POST", "/detect", headers={"Origin": PAGE}, content=make_image_bytes())
    assert (response.status_code, response.headers["access-control-allow-origin"], response.headers["vary"]) == (200, PAGE, "Origin")
    assert "Retry-After" in response.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", ["https://app.example.evil", "http://app.example", "https://app.example:8443", "null"])
def test_other_origins_get_no_cors_headers(send_request, make_app, make_image_bytes, origin):
    app = make_app(cors_origins=PAGE)
    preflight = send_request(app, "OPTIONS", "/detect", headers={"Origin": origin} | PREFLIGHT)
    response = send_request(app, "POST", "/detect", headers={"Origin": origin}, content=make_image_bytes())
    assert (preflight.status_code, response.status_code) == (400, 403)
    assert "access-control-allow-origin" not in cors_headers(preflight) | cors_headers(response)


def test_a_star_allows_every_origin(send_request, make_app, make_image_bytes):
    response = send_request(
        make_app(cors_origins="*"), "POST", "/detect", headers={"Origin": "https://any.example"}, content=make_image_bytes()
    )
    assert response.headers["access-control-allow-origin"] == "*"


def test_a_preflight_needs_no_key_but_the_request_does(send_request, make_app, make_image_bytes):
    key = new_key()
    app = make_app(cors_origins=PAGE, key_hashes=str(HashedKey.of("page", key)))
    assert send_request(app, "OPTIONS", "/detect", headers={"Origin": PAGE} | PREFLIGHT).status_code == 200
    refused = send_request(app, "POST", "/detect", headers={"Origin": PAGE}, content=make_image_bytes())
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)  # so that the page can read why
    assert send_request(app, "POST", "/detect", headers={"Origin": PAGE, "X-API-Key": key}, content=make_image_bytes()).status_code == 200


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://App.example", "https://app.example/a", "null", "ftp://a", "https://*.a"]
)
def test_an_invalid_origin_is_refused(origin):
    with pytest.raises(SettingError, match="BOXWRIGHT_CORS_ORIGINS"):
        read_settings(cors_origins=[PAGE, origin])
