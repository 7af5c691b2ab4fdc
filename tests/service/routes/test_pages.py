"""Health, documentation and HEAD requests."""

import re

import pytest


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_checks_succeed(send_request, tiny_app, path):
    assert send_request(tiny_app, "GET", path).status_code == 200


def test_docs_page_loads_local_files_only(send_request, tiny_app):
    page = send_request(tiny_app, "GET", "/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 2
    for source in sources:
        assert source.startswith("/"), source
        assert send_request(tiny_app, "GET", source).status_code == 200
    assert not re.search(r"https?://", page)
    assert '"validatorUrl": null' in page  # by default, Swagger UI sends the document to a server on the internet


def test_every_endpoint_is_in_the_openapi_document(send_request, tiny_app):
    assert set(send_request(tiny_app, "GET", "/openapi.json").json()["paths"]) == {
        "/detect",
        "/models",
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/vision/detection",
        "/v1/server/status/ping",
        "/v1/server/status/updateavailable",
        "/v1/status/ping",
        "/v1/status/updateavailable",
        "/v1/vision/custom/list",
        "/v1/vision/custom/{model}",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        *(f"/v2/models/{{model}}{version}{end}" for version in ("", "/versions/{version}") for end in ("", "/ready", "/infer")),
        *(f"/v1/models/{{model}}{version}{end}" for version in ("", "/versions/{version}") for end in ("", "/metadata", ":predict")),
    }


def test_openapi_document_describes_bodies_responses_and_problems_of_detect(send_request, tiny_app):
    document = send_request(tiny_app, "GET", "/openapi.json").json()
    detect = document["paths"]["/detect"]["post"]
    assert set(detect["requestBody"]["content"]) == {"image/*", "application/octet-stream", "multipart/form-data", "application/json"}
    assert set(detect["responses"]) == {"200", "400", "403", "404", "408", "413", "415", "422", "500", "503", "504"}
    assert set(detect["responses"]["200"]["content"]) == {"application/json", "image/jpeg", "image/png"}
    for status, response in detect["responses"].items():
        if status != "200":
            examples = response["content"]["application/problem+json"]["examples"]
            assert {example["value"]["status"] for example in examples.values()} == {int(status)}
    names = {parameter["name"] for parameter in detect["parameters"]}
    assert names == {"model", "confidence", "iou", "classes", "max_detections", "format"}


def has_example(media, schemas):
    """Return True if the schema, or each of its fields, has an example."""
    schema = media.get("schema", {})
    schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if any(name in part for part in (media, schema) for name in ("example", "examples", "default")):
        return True
    inner = [schema["items"]] if "items" in schema else list(schema.get("properties", {}).values())
    return bool(inner) and all(has_example({"schema": field}, schemas) for field in inner)


def test_every_endpoint_has_examples_of_its_requests_and_responses(tiny_app):
    document = tiny_app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            contents = [operation.get("requestBody", {}).get("content", {}), operation["responses"]["200"]["content"]]
            for media_type, media in [entry for content in contents for entry in content.items()]:
                if media_type == "application/json":
                    assert has_example(media, document["components"]["schemas"]), (method, path)
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    assert "example" in parameter or "examples" in parameter["schema"], (method, path)


def test_every_reference_of_the_openapi_document_exists(send_request, tiny_app):
    response = send_request(tiny_app, "GET", "/openapi.json")
    references = set(re.findall(r'"#/components/schemas/(\w+)"', response.text))
    assert {"Problem", "ParameterProblem", "DetectResponse"} <= references
    assert references <= set(response.json()["components"]["schemas"])


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/models", "/docs", "/openapi.json"])
def test_head_is_answered_like_get_without_the_body(send_request, tiny_app, path):
    head, get = send_request(tiny_app, "HEAD", path), send_request(tiny_app, "GET", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_head_is_refused_where_get_is_not_allowed(send_request, tiny_app):
    assert send_request(tiny_app, "HEAD", "/detect").status_code == 405


def test_the_served_document_has_all_schemas(tiny_app, send_request):
    for _ in range(2):
        assert send_request(tiny_app, "GET", "/openapi.json").json() == tiny_app.openapi()
    assert "ImagesInJson" in tiny_app.openapi()["components"]["schemas"]
