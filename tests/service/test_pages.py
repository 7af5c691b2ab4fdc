"""What there is beside /detect: models, health, documentation."""

import re

import pytest

from detector.engines.onnxruntime import OnnxEngine
from detector.shapes import parameters
from service.app import create_app
from service.models.loaded_model import LoadedModel, estimate_memory
from service.models.registry import Registry
from service.settings import Settings


def test_models_tells_what_is_served(ask, tiny_app, tiny_model):
    assert ask(tiny_app, "GET", "/models").json() == {
        "models": [
            {
                "name": "tiny-random",
                "version": "1",
                "labels": ["cat", "dog", "person"],
                "input_size": 64,
                "parameters": parameters(tiny_model.spec.network),
                "engine": "onnxruntime",
                "default": True,
                "ap": None,
                "memory_bytes": estimate_memory(tiny_model.spec, None),
                "file": None,
                "versions": [{"version": "1", "state": "AVAILABLE"}],
                "provenance": {"source": "seeded random numbers"},
            }
        ],
        "refused": [],
    }


def test_the_first_model_is_the_default_and_others_answer_by_name(tiny_model, random_arrays, photo, ask):
    from detector.spec import Model

    other = Model("other", tiny_model.spec, random_arrays(tiny_model.spec.network, 2))
    app = create_app(Registry([LoadedModel.of(model, OnnxEngine.of(model)) for model in (tiny_model, other)]), Settings())
    assert [(model["name"], model["default"]) for model in ask(app, "GET", "/models").json()["models"]] == [
        ("tiny-random", True),
        ("other", False),
    ]
    answers = [
        ask(app, "POST", "/detect", content=photo(), params={"confidence": 0.01, **query}).json() for query in ({}, {"model": "other"})
    ]
    assert [answer["model"] for answer in answers] == ["tiny-random", "other"]
    assert answers[0]["detections"] != answers[1]["detections"]


def test_a_registry_refuses_to_have_a_name_twice(tiny_model):
    loaded = LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))
    with pytest.raises(ValueError, match="each name once"):
        Registry([loaded, loaded])


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
def test_without_a_model_the_service_is_alive_and_not_ready(ask, path):
    app = create_app(Registry(default="mine"), Settings())
    assert ask(app, "GET", "/livez").status_code == 200
    assert ask(app, "GET", "/models").json() == {"models": [], "refused": []}
    answer = ask(app, "GET", path)
    assert answer.status_code == 503
    assert "there is no model 'mine' to answer yet" in answer.text
    assert int(answer.headers["retry-after"]) > 0


def test_without_a_model_a_photo_is_answered_503_and_a_name_404(ask, photo):
    app = create_app(Registry(), Settings())
    for path, body in (("/detect", photo()), ("/v1/vision/detection", photo())):
        answer = ask(app, "POST", path, **({"content": body} if path == "/detect" else {"files": {"image": body}}))
        assert answer.status_code == 503
        assert "there is no model to answer yet" in answer.text
    answer = ask(app, "POST", "/detect", content=photo(), params={"model": "mine"})
    assert answer.status_code == 404
    assert "there are none yet" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_answers(ask, tiny_app, path):
    assert ask(tiny_app, "GET", path).status_code == 200


def test_the_docs_page_loads_nothing_from_elsewhere(ask, tiny_app):
    page = ask(tiny_app, "GET", "/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 2
    for source in sources:
        assert source.startswith("/"), source
        assert ask(tiny_app, "GET", source).status_code == 200
    assert not re.search(r"https?://", page)
    assert '"validatorUrl": null' in page  # Swagger UI's own default asks a server on the internet


def test_every_endpoint_is_in_the_openapi_document(ask, tiny_app):
    assert set(ask(tiny_app, "GET", "/openapi.json").json()["paths"]) == {
        "/detect",
        "/models",
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/vision/detection",
        "/v1/vision/custom/list",
        "/v1/vision/custom/{model}",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        *(f"/v2/models/{{model}}{version}{end}" for version in ("", "/versions/{version}") for end in ("", "/ready", "/infer")),
        *(f"/v1/models/{{model}}{version}{end}" for version in ("", "/versions/{version}") for end in ("", "/metadata", ":predict")),
    }


def test_the_openapi_document_tells_bodies_answers_and_problems_of_detect(ask, tiny_app):
    document = ask(tiny_app, "GET", "/openapi.json").json()
    detect = document["paths"]["/detect"]["post"]
    assert set(detect["requestBody"]["content"]) == {"image/*", "application/octet-stream", "multipart/form-data", "application/json"}
    assert set(detect["responses"]) == {"200", "400", "404", "408", "413", "415", "422", "500", "503", "504"}
    assert set(detect["responses"]["200"]["content"]) == {"application/json", "image/jpeg", "image/png"}
    for status, response in detect["responses"].items():
        if status != "200":
            examples = response["content"]["application/problem+json"]["examples"]
            assert {example["value"]["status"] for example in examples.values()} == {int(status)}
    names = {parameter["name"] for parameter in detect["parameters"]}
    assert names == {"model", "confidence", "iou", "classes", "max_detections", "format"}


def shown(media, schemas):
    """Whether there is an example of it: for the whole, or for each of its fields."""
    schema = media.get("schema", {})
    schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if any(name in place for place in (media, schema) for name in ("example", "examples", "default")):
        return True
    inner = [schema["items"]] if "items" in schema else list(schema.get("properties", {}).values())
    return bool(inner) and all(shown({"schema": field}, schemas) for field in inner)


def test_every_way_in_has_examples_of_its_requests_and_answers(tiny_app):
    document = tiny_app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            contents = [operation.get("requestBody", {}).get("content", {}), operation["responses"]["200"]["content"]]
            for media_type, media in [entry for content in contents for entry in content.items()]:
                if media_type == "application/json":
                    assert shown(media, document["components"]["schemas"]), (method, path)
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    assert "example" in parameter or "examples" in parameter["schema"], (method, path)


def test_every_reference_of_the_openapi_document_leads_somewhere(ask, tiny_app):
    answer = ask(tiny_app, "GET", "/openapi.json")
    references = set(re.findall(r'"#/components/schemas/(\w+)"', answer.text))
    assert {"Problem", "ParameterProblem", "DetectAnswer"} <= references
    assert references <= set(answer.json()["components"]["schemas"])


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/models", "/docs", "/openapi.json"])
def test_head_is_answered_as_get_without_the_body(ask, tiny_app, path):
    head, get = ask(tiny_app, "HEAD", path), ask(tiny_app, "GET", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_head_of_what_takes_no_get_is_refused(ask, tiny_app):
    assert ask(tiny_app, "HEAD", "/detect").status_code == 405
