"""`boxwright serve --ray`: the same answers from several processes, and none lost when one of them dies. The last test ends it."""

import os
import select
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest

from detector.detector import Detector
from detector.imaging.image import read_reduced
from service.schemas.detections import Detection
from tests.ray.conftest import PHOTOS, ROOT, command, environment
from weights.engines.factory import load_engine
from weights.hub.resolve import load

CAT = (PHOTOS / "cat.jpg").read_bytes()
RETRIES = 20_000  # a refusal takes a few milliseconds, and on a busy machine there may be seconds of them


@pytest.fixture(scope="module")
def natively():
    """(photo) -> its detections, computed in this process."""
    model = load(None)
    detector = Detector(model.spec, load_engine(model, threads=1))

    def detect(photo):
        prepared = detector.prepare(read_reduced(photo, detector.enough))
        raw = detector.network(prepared.pixels[None])[0]
        return [one.model_dump() for one in Detection.from_detections(detector.select(raw, prepared), detector.spec.labels)]

    return detect


def test_the_command_that_is_tested_here_is_that_of_the_document():
    assert "\n$ boxwright serve --ray --replicas 2 --port 8080\n" in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cat.jpg", "astronaut.jpg"])
def test_each_answer_is_that_of_the_detector_in_this_process(cluster, natively, name):
    photo = (PHOTOS / name).read_bytes()
    answer = cluster.ask("POST", "/detect", photo)
    assert answer.status == 200
    assert answer.json()["detections"] == natively(photo) != []


def test_refusals_and_pages_are_those_of_the_service(cluster):
    refused = cluster.ask("POST", "/detect?confidence=2", CAT)
    assert (refused.status, refused.json()["type"]) == (422, "urn:boxwright:problem:bad-parameter")
    assert cluster.ask("POST", "/detect", b"no photo").json()["type"] == "urn:boxwright:problem:not-an-image"
    assert cluster.ask("GET", "/nowhere").json()["type"] == "about:blank"
    assert cluster.ask("GET", "/readyz").json() == {"status": "ready"}
    assert b"<title>" in cluster.ask("GET", "/").body


def test_an_answer_names_its_request_once(cluster):
    answer = cluster.ask("GET", "/livez")
    assert answer.headers["x-request-id"].count("-") == 4  # headers of one name are joined by a comma
    assert "," not in answer.headers["x-request-id"]


def test_a_full_queue_is_answered_503_with_a_problem_and_a_time_to_come_again(cluster):
    with ThreadPoolExecutor(40) as clients:
        answers = list(clients.map(lambda _: cluster.ask("POST", "/detect", CAT), range(80)))
    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:boxwright:problem:overloaded"
            assert int(answer.headers["retry-after"]) >= 1


def test_a_detector_that_is_killed_under_load_loses_no_photo(cluster, natively):
    expected, clients, photos = natively(CAT), 4, 60
    answered, failed = threading.Semaphore(0), []

    def until_answered(_):
        for _ in range(RETRIES):
            try:
                answer = cluster.ask("POST", "/detect", CAT)
            except (OSError, HTTPException) as closed:  # it was in flight on the one that died
                failed.append(closed)
                continue
            if answer.status == 200:
                answered.release()
                return answer.json()["detections"]
            if answer.status != 503:  # what was in flight on the one that died
                failed.append(answer)
        pytest.fail(f"no answer after {RETRIES} tries")

    victim = cluster.detectors()[0]
    with ThreadPoolExecutor(clients) as pool:
        results = pool.map(until_answered, range(photos))
        for _ in range(photos // 4):
            answered.acquire()
        os.kill(victim, signal.SIGKILL)
        assert list(results) == [expected] * photos
    assert len(failed) <= clients


def test_another_detector_takes_the_dead_ones_place(cluster):
    for _ in range(100_000):
        assert cluster.ask("GET", "/livez").status == 200
        if len(cluster.detectors()) == 2:
            return
    pytest.fail("there are not two detectors again")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--replicas", "2"], "--ray"),
        (["--ray", "--replicas", "many"], "replicas"),
        (["--ray", "--replicas", "3-2"], "3-2"),
        (["--ray", "--replicas", "2000"], "ask for fewer"),
        (["--ray", "--set", "head_seconds=5"], "head_seconds"),
        (["--ray", "--model", "none.safetensors"], "no such file"),
    ],
)
def test_what_cannot_be_is_told_before_ray_is_started(arguments, told):
    ended = subprocess.run(command("serve", *arguments), env=environment(COLUMNS="200"), capture_output=True, text=True)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigterm_answers_what_has_begun_and_leaves_nothing_behind(cluster):
    detectors = [os.pidfd_open(pid) for pid in cluster.detectors()]
    with ThreadPoolExecutor(1) as client:
        begun = client.submit(cluster.ask, "POST", "/detect?format=both", (PHOTOS / "astronaut.jpg").read_bytes())
        cluster.ask("GET", "/livez")
        cluster.process.terminate()
        assert begun.result().status == 200
    assert cluster.process.wait(timeout=60) == 0
    assert detectors
    for detector in detectors:  # such a file can be read when its process has ended
        assert select.select([detector], [], [], 30)[0]
        os.close(detector)
    assert "Traceback" not in "".join(cluster.log)
