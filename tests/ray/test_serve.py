"""`boxwright serve --ray`: all replicas give the same responses, also after one is killed. The last test stops the service."""

import os
import select
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest

from detector.detector import Detector
from detector.imaging.image import decode_image
from service.schemas.detections import Detection
from tests.ray.conftest import ROOT, SAMPLES, command, environment
from weights.engines.factory import choose_engine
from weights.engines.options import EngineOptions
from weights.hub.resolve import find_model

CAT = (SAMPLES / "cat.jpg").read_bytes()
MAX_ATTEMPTS = 20_000  # a refused request takes a few milliseconds


@pytest.fixture(scope="module")
def detect_locally():
    """(image bytes) -> detections, computed in this process."""
    choice = choose_engine(find_model(None), EngineOptions(precision="auto"))  # the service's default
    model = choice.load()
    detector = Detector(model.spec, choice.build(model, threads=1))

    def detect(image):
        prepared = detector.preprocess(decode_image(image, detector.min_decode_side))
        logits = detector.forward(prepared.pixels[None])[0]
        return [
            detection.model_dump() for detection in Detection.from_detections(detector.postprocess(logits, prepared), detector.spec.labels)
        ]

    return detect


def test_documentation_contains_the_tested_command():
    assert "\n$ boxwright serve --ray --replicas 2 --port 8080\n" in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cat.jpg", "astronaut.jpg"])
def test_responses_equal_those_of_a_local_detector(cluster, detect_locally, name):
    image = (SAMPLES / name).read_bytes()
    response = cluster.request("POST", "/detect", image)
    assert response.status == 200
    assert response.json()["detections"] == detect_locally(image) != []


def test_refusals_and_pages_equal_those_of_the_service(cluster):
    refused = cluster.request("POST", "/detect?confidence=2", CAT)
    assert (refused.status, refused.json()["type"]) == (422, "urn:boxwright:problem:bad-parameter")
    assert cluster.request("POST", "/detect", b"no image").json()["type"] == "urn:boxwright:problem:not-an-image"
    assert cluster.request("GET", "/nowhere").json()["type"] == "about:blank"
    assert cluster.request("GET", "/readyz").json() == {"status": "ready"}
    assert b"<title>" in cluster.request("GET", "/").body


def test_response_contains_one_request_id(cluster):
    response = cluster.request("GET", "/livez")
    assert response.headers["x-request-id"].count("-") == 4  # a second header would be joined by a comma
    assert "," not in response.headers["x-request-id"]


def test_connection_that_sends_no_request_is_closed(cluster):
    """Without this limit, 4,096 idle connections would make the service unreachable for an hour."""
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=60) as idle:
        assert idle.recv(100).startswith(b"HTTP/1.1 408 ")
        assert cluster.request("GET", "/livez").status == 200


def test_full_queue_is_answered_503_with_a_problem_and_retry_after(cluster):
    with ThreadPoolExecutor(40) as clients:
        responses = list(clients.map(lambda _: cluster.request("POST", "/detect", CAT), range(80)))
    assert {response.status for response in responses} == {200, 503}
    for response in responses:
        if response.status == 503:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["type"] == "urn:boxwright:problem:overloaded"
            assert int(response.headers["retry-after"]) >= 1


def test_every_image_is_answered_after_a_replica_is_killed_under_load(cluster, detect_locally):
    expected, clients, images = detect_locally(CAT), 4, 60
    completed, failed = threading.Semaphore(0), []

    def detect_with_retries(_):
        for _ in range(MAX_ATTEMPTS):
            try:
                response = cluster.request("POST", "/detect", CAT)
            except (OSError, HTTPException) as closed:  # the request was in flight on the killed replica
                failed.append(closed)
                continue
            if response.status == 200:
                completed.release()
                return response.json()["detections"]
            if response.status != 503:  # the request was in flight on the killed replica
                failed.append(response)
        pytest.fail(f"no response after {MAX_ATTEMPTS} attempts")

    killed_replica = cluster.replicas()[0]
    with ThreadPoolExecutor(clients) as pool:
        results = pool.map(detect_with_retries, range(images))
        for _ in range(images // 4):
            completed.acquire()
        os.kill(killed_replica, signal.SIGKILL)
        assert list(results) == [expected] * images
    assert len(failed) <= clients


def test_killed_replica_is_replaced(cluster):
    for _ in range(100_000):
        assert cluster.request("GET", "/livez").status == 200
        if len(cluster.replicas()) == 2:
            return
    pytest.fail("the killed replica was not replaced")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicas", "2"], "--ray"),
        (["--ray", "--replicas", "many"], "replicas"),
        (["--ray", "--replicas", "3-2"], "3-2"),
        (["--ray", "--replicas", "2000"], "need more than the"),
        (["--ray", "--set", "head_seconds=5"], "head_seconds"),
        (["--ray", "--model", "none.safetensors"], "no such file"),
    ],
)
def test_invalid_setting_is_reported_before_ray_starts(arguments, message):
    result = subprocess.run(command("serve", *arguments), env=environment(COLUMNS="200"), capture_output=True, text=True)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_sigterm_finishes_running_requests_and_ends_all_processes(cluster):
    replicas = [os.pidfd_open(pid) for pid in cluster.replicas()]
    with ThreadPoolExecutor(1) as client:
        running = client.submit(cluster.request, "POST", "/detect?format=both", (SAMPLES / "astronaut.jpg").read_bytes())
        cluster.request("GET", "/livez")
        cluster.process.terminate()
        assert running.result().status == 200
    assert cluster.process.wait(timeout=60) == 0
    assert replicas
    for replica in replicas:  # a pidfd becomes readable when its process has ended
        assert select.select([replica], [], [], 30)[0]
        os.close(replica)
    assert "Traceback" not in "".join(cluster.log)
