"""API keys: which endpoints require one, and how requests without a valid key are refused."""

import httpx
import pytest

from tests.service.auth.keys import KEY, OTHER_KEY

OPEN_ENDPOINTS = {
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    ("get", "/v2/models/{model}/ready"),
    ("get", "/v2/models/{model}/versions/{version}/ready"),
    *(("get", f"/v1{folder}/status/{name}") for folder in ("", "/server") for name in ("ping", "updateavailable")),
}


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


@pytest.mark.parametrize("path", ["/v2/models/other/ready", "/v2/models/tiny-random/versions/7/ready"])
def test_readiness_of_an_unknown_model_reveals_nothing_without_a_key(send_request, protected_app, path):
    responses = [send_request(protected_app, "GET", path, headers=headers) for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": KEY})]
    assert [response.status_code for response in responses] == [404] * 3
    assert responses[0].json() == responses[1].json() == {"error": "No such model is ready."}
    assert "tiny-random" in responses[2].json()["error"]
