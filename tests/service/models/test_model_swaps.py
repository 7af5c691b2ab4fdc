"""A service process that watches a model folder: swaps under load, and versions in every protocol."""

import base64
import json
import subprocess
import sys
import threading

import httpx
import pytest

from cli.commands.serve import load_registry
from detector.engines.onnxruntime import OnnxEngine
from detector.errors import UnknownModel
from service.app import create_app
from service.models.loaded_model import LoadedModel, estimate_memory
from service.models.registry import Registry
from service.settings import Settings
from tests.service.asgi import without_timing
from weights.repository.layout import MODEL_FILE
from weights.repository.publish import add_version, remove_version, rollback_version

SWAPS = 20
CONFIDENCE = 0.02
MAX_REQUESTS = 5000
"""Maximum number of polling requests. Each takes a few milliseconds."""


@pytest.fixture
def start(start_service, models):
    """(environment) -> a running service that watches the folder. It is stopped at the end of the test."""
    running = []

    def run(model=None, **environment):
        service = start_service(model, BOXWRIGHT_MODELS=str(models), BOXWRIGHT_MODELS_SECONDS="0.02", **environment)
        running.append(service)
        return service

    yield run
    assert [service.stop() for service in running] == [0] * len(running)


def poll_until(request, accept):
    """Poll until `accept` returns True for the response, and return it. The service scans its folder at intervals."""
    for _ in range(MAX_REQUESTS):
        if accept(response := request()):
            return response
    return pytest.fail(f"after {MAX_REQUESTS} requests the response is still {response}")


def models_of(service):
    return httpx.get(f"{service.url}/models", timeout=30).json()


def versions_of(service):
    """Return model name -> version that is served."""
    return {model["name"]: model["version"] for model in models_of(service)["models"]}


def without_timing_and_version(response):
    return {name: value for name, value in without_timing(response).items() if name != "version"}


class Clients:
    """Threads that send requests without a pause, one for each endpoint, and their responses."""

    def __init__(self, service, image_bytes):
        encoded = {"b64": base64.b64encode(image_bytes).decode()}
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [encoded["b64"]]}
        query = f"?confidence={CONFIDENCE}"
        self.requests = {
            "native": (f"/detect{query}&model=mine", {"content": image_bytes}),
            "default": (f"/detect{query}", {"content": image_bytes}),
            "deepstack": ("/v1/vision/custom/mine", {"files": {"image": image_bytes}, "data": {"min_confidence": CONFIDENCE}}),
            "open inference": ("/v2/models/mine/infer", {"json": {"inputs": [tensor], "parameters": {"confidence": CONFIDENCE}}}),
            "serving": (f"/v1/models/mine:predict{query}", {"json": {"instances": [encoded]}}),
        }
        self.url, self.responses, self.stop = service.url, {name: [] for name in self.requests}, threading.Event()
        self.threads = [threading.Thread(target=self._send, args=(name,)) for name in self.requests]

    def _send(self, name):
        path, request = self.requests[name]
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.stop.is_set():
                response = client.post(path, **request)
                self.responses[name].append((response.status_code, response.json()))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def expected(self, app, send_request):
        """Return the response of each endpoint with the model of `app`."""
        return {
            name: without_timing_and_version(send_request(app, "POST", path, **request).json())
            for name, (path, request) in self.requests.items()
        }


def with_version(response, version):
    """Set the version in a response of the Open Inference Protocol, which contains it."""
    return response | {"model_version": version} if "model_version" in response else response


@pytest.mark.slow
def test_twenty_swaps_under_load_fail_no_request_and_no_response_mixes_versions(
    start, models, tiny_model, another_model, make_image_bytes, send_request
):
    """Odd and even versions have different labels and boxes: each response must come from one version only."""
    alternating_models = (tiny_model, another_model)
    add_version(models, "mine", alternating_models[0])
    service = start(BOXWRIGHT_QUEUE_SIZE="100")
    clients = Clients(service, make_image_bytes(120, 90))
    apps = [create_app(Registry([LoadedModel.of(model, OnnxEngine.of(model), name="mine")]), Settings()) for model in alternating_models]
    expected = [clients.expected(app, send_request) for app in apps]
    assert all(expected[0][name] != expected[1][name] for name in clients.requests)
    with clients:
        for swap in range(1, SWAPS + 1):
            version = str(add_version(models, "mine", alternating_models[swap % 2]).number)
            poll_until(lambda: versions_of(service), lambda served, version=version: served == {"mine": version})
    responding_versions = set()
    for name, responses in clients.responses.items():
        assert {status for status, _ in responses} == {200}
        for _, response in responses:
            version = response.get("version") or response.get("model_version")
            index = (
                (int(version) - 1) % 2 if version else [without_timing_and_version(response) == each[name] for each in expected].index(True)
            )
            assert without_timing_and_version(response) == with_version(expected[index][name], version), name
            responding_versions.add(version)
    assert len(responding_versions - {None}) > SWAPS / 2  # most versions answered requests
    metrics = httpx.get(f"{service.url}/metrics").text
    assert f"boxwright_model_loads_total {SWAPS + 1}.0" in metrics
    assert 'boxwright_model_info{engine="onnxruntime",input_size="64",labels="3",model="mine"' in metrics
    assert metrics.count("boxwright_model_info{") == 1
    assert len(models_of(service)["models"][0]["versions"]) == 1


def test_every_protocol_reports_versions_and_their_states(start, models, tiny_model, another_model, make_image_bytes):
    for model in (tiny_model, another_model, tiny_model):
        add_version(models, "mine", model)
    (models / "mine" / "3" / MODEL_FILE).write_bytes(b"broken")
    service = start(BOXWRIGHT_MODEL_VERSIONS="2")
    get = lambda path: httpx.get(service.url + path)  # noqa: E731
    (mine,) = models_of(service)["models"]
    assert (mine["version"], mine["ap"], mine["file"]) == ("2", "0.7500 on set val", "mine/2/model.safetensors")
    assert [(each["version"], each["state"]) for each in mine["versions"]] == [("3", "END"), ("2", "AVAILABLE"), ("1", "AVAILABLE")]
    assert mine["memory_bytes"] > 1000
    (refused,) = models_of(service)["refused"]
    assert (refused["name"], refused["version"]) == ("mine", "3")
    assert "damaged, truncated" in refused["why"]

    status = get("/v1/models/mine").json()["model_version_status"]
    assert [(each["version"], each["state"], each["status"]["error_code"]) for each in status] == [
        ("3", "END", "INVALID_ARGUMENT"),
        ("2", "AVAILABLE", "OK"),
        ("1", "AVAILABLE", "OK"),
    ]
    assert status[0]["status"]["error_message"] == refused["why"]
    assert [each["version"] for each in get("/v1/models/mine/versions/1").json()["model_version_status"]] == ["1"]
    assert get("/v1/models/mine/versions/1/metadata").json()["model_spec"]["version"] == "1"
    assert get("/v1/models/mine/metadata").json()["model_spec"]["version"] == "2"
    assert get("/v1/models/mine/versions/9").status_code == 404
    assert get("/v2/models/mine").json()["versions"] == ["1", "2"]
    assert [get(f"/v2/models/mine/versions/{version}/ready").status_code for version in ("1", "2", "3", "9")] == [200, 200, 404, 404]
    assert "Refused: " in get("/v2/models/mine/versions/3/ready").json()["error"]
    assert httpx.post(f"{service.url}/v1/vision/custom/list").json()["models"] == ["mine"]

    instances = {"instances": [{"b64": base64.b64encode(make_image_bytes()).decode()}]}
    labels = set()
    for version, model in (("1", tiny_model), ("2", another_model)):
        response = httpx.post(f"{service.url}/v1/models/mine/versions/{version}:predict?confidence={CONFIDENCE}", json=instances).json()
        predicted = set(response["predictions"][0]["detection_class_entities"])
        assert predicted <= set(model.spec.labels)
        labels |= predicted
    assert len(labels) > 3
    assert httpx.post(f"{service.url}/v1/models/mine/versions/3:predict", json=instances).status_code == 404


def test_service_is_ready_only_while_the_folder_has_a_model(start, models, tiny_model, make_image_bytes):
    service = start()
    ready = lambda: httpx.get(f"{service.url}/readyz").status_code  # noqa: E731
    assert ready() == 503
    assert httpx.get(f"{service.url}/livez").status_code == 200
    refusal = httpx.post(f"{service.url}/detect", content=make_image_bytes())
    assert (refusal.status_code, refusal.json()["type"]) == (503, "urn:boxwright:problem:no-model")
    add_version(models, "mine", tiny_model)
    poll_until(ready, lambda status: status == 200)
    assert httpx.post(f"{service.url}/detect", content=make_image_bytes()).json()["model"] == "mine"
    (models / "broken.safetensors").write_bytes(b"broken")
    remove_version(models, "mine")
    poll_until(ready, lambda status: status == 503)
    assert not models_of(service)["models"]
    poll_until(lambda: models_of(service)["refused"], bool)
    assert service.stop() == 0
    lines = [json.loads(line) for line in service.log if '"logger": "boxwright.models"' in line]
    messages = [line["message"].partition(" in ")[0] for line in lines if line["level"] == "info"]
    assert messages == [
        "model mine: version 1 loaded",
        "model mine: version 1 is now served",
        "model mine: removed from the folder, unloaded",
    ]
    (warning,) = [line for line in lines if line["level"] == "warning"]
    assert (warning["model"], warning["version"]) == ("broken", "1")


def test_fixed_model_stays_the_default_if_the_folder_has_models(start, models, model_file, another_model, make_image_bytes):
    add_version(models, "aardvark", another_model)
    service = start(model_file)
    initial = models_of(service)["models"]
    assert [(model["name"], model["default"]) for model in initial] == [("tiny-random", True), ("aardvark", False)]
    assert httpx.post(f"{service.url}/detect", content=make_image_bytes()).json()["model"] == "tiny-random"
    add_version(models, "tiny-random", another_model)
    poll_until(lambda: models_of(service)["models"][0]["labels"], lambda labels: labels == list(another_model.spec.labels))
    remove_version(models, "tiny-random")
    poll_until(lambda: models_of(service)["models"][0]["labels"], lambda labels: labels == initial[0]["labels"])


def test_name_that_is_not_in_the_catalogue_is_the_default_of_the_folder(models):
    assert load_registry(Settings(models=str(models), model="mine")).default_name == "mine"
    assert load_registry(Settings(models=str(models))).default_name is None
    with pytest.raises(UnknownModel, match="there is no such file"):
        load_registry(Settings(models=str(models), model="mine.safetensors"))


def test_rollback_beyond_the_budget_is_refused_and_the_present_version_stays(start, models, tiny_model, another_model):
    for model in (tiny_model, another_model):
        add_version(models, "mine", model)
    needed = estimate_memory(another_model.spec, None)
    service = start(BOXWRIGHT_MAX_MODEL_BYTES=str(needed))
    rollback_version(models, "mine")
    (refused,) = poll_until(lambda: models_of(service)["refused"], bool)
    assert "BOXWRIGHT_MAX_MODEL_BYTES" in refused["why"]
    assert versions_of(service) == {"mine": "2"}
    (status,) = httpx.get(f"{service.url}/v1/models/mine/versions/1").json()["model_version_status"]
    assert (status["state"], status["status"]["error_code"]) == ("END", "RESOURCE_EXHAUSTED")
    assert "boxwright_models_refused 1.0" in httpx.get(f"{service.url}/metrics").text


def test_missing_folder_stops_the_start_with_a_message(tmp_path):
    command = [sys.executable, "-m", "cli.main", "serve", "--models", str(tmp_path / "nowhere"), "--port", "0"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "nowhere does not exist. Create it; it may be empty." in result.stderr
