"""The README's commands about yolov2-voc, with a local server that sends a full-size file of random numbers."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from detector.network.spec import Model
from weights.formats.darknet.cfg import read_cfg
from weights.formats.darknet.weights import write_darknet
from weights.hub.catalogue import entry_of, spec_of

ROOT = Path(__file__).resolve().parents[3]
CAT = ROOT / "docs" / "photos" / "cat.jpg"

pytestmark = pytest.mark.slow  # files of 200 MB in several processes


@pytest.fixture(scope="module")
def yolov2_bytes(random_arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolov2")
    spec = spec_of(entry_of("yolov2-voc"))
    write_darknet(Model("random", spec, random_arrays(spec.network, 3)), folder / "a.cfg", folder / "a.weights")
    assert len(read_cfg(folder / "a.cfg").network) == len(spec.network)
    return (folder / "a.weights").read_bytes()


@pytest.fixture
def boxwright():
    def run(*arguments):
        command = [sys.executable, "-m", "cli.main", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    return run


def test_yolov2_can_be_pulled_used_listed_verified_and_removed(boxwright, web_server, yolov2_bytes, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    web_server.pages["/yolov2-voc.weights"] = web_server.page(yolov2_bytes)
    pulled = boxwright("weights", "pull", "yolov2-voc")
    assert pulled.returncode == 0, pulled.stderr
    assert "202,704,264 bytes" in pulled.stdout
    assert any("yolov2-voc" in line and "pulled" in line for line in boxwright("weights", "list").stdout.splitlines())
    detected = boxwright("detect", CAT, "--model", "yolov2-voc", "--json")
    assert detected.returncode == 0, detected.stderr
    assert '"model": "yolov2-voc"' in detected.stdout
    verified = boxwright("weights", "verify", "yolov2-voc")
    assert "matches recorded sha256" in verified.stdout
    assert "removed" in boxwright("weights", "remove", "yolov2-voc").stdout
    assert len(web_server.requests) == 1


def test_a_model_is_pulled_at_its_first_use(boxwright, web_server, yolov2_bytes, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    web_server.pages["/yolov2-voc.weights"] = web_server.page(yolov2_bytes)
    assert boxwright("detect", CAT, "--model", "yolov2-voc", "--json").returncode == 0
    assert [request.status for request in web_server.requests] == [200]


def test_serve_pulls_a_model_by_its_name(start_service, web_server, yolov2_bytes, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    web_server.pages["/yolov2-voc.weights"] = web_server.page(yolov2_bytes)
    service = start_service("yolov2-voc")
    try:
        (model,) = httpx.get(f"{service.url}/models").json()["models"]
        assert (model["name"], model["input_size"], model["provenance"]["catalogue"]) == ("yolov2-voc", 416, "yolov2-voc")
        response = httpx.post(f"{service.url}/detect", content=CAT.read_bytes(), params={"confidence": 0}, timeout=60)
        assert response.json()["model"] == "yolov2-voc"
        assert response.json()["detections"]
    finally:
        assert service.stop() == 0
    assert [request.status for request in web_server.requests] == [200]


def test_pull_takes_a_local_file_instead_of_a_download(boxwright, home, yolov2_bytes, tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    local_file = tmp_path / "local.weights"
    local_file.write_bytes(yolov2_bytes[:-4])
    refused = boxwright("weights", "pull", "yolov2-voc", "--from", local_file)
    assert (refused.returncode, home.files()) == (2, set())
    assert "202,704,260 bytes instead of 202,704,264" in refused.stderr
    local_file.write_bytes(yolov2_bytes)
    assert boxwright("weights", "pull", "yolov2-voc", "--from", local_file).returncode == 0
    assert home.files() == {"yolov2-voc.weights", "hashes.json"}
