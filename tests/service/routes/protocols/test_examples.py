"""The examples of docs/service.md work as they are printed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[4] / "docs"
PAGE = (DOCS / "service.md").read_text(encoding="utf-8")
CURLS = re.findall(r"^    ((?:echo .+ )?curl .+)$", PAGE, re.MULTILINE)
SCRIPTS = re.findall(r"^```python\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_image_bytes):
    folder = tmp_path_factory.mktemp("examples")
    (folder / "docs").symlink_to(DOCS)
    (folder / "dog.jpg").write_bytes(make_image_bytes(400, 300, quality=95))  # longer than the maximum length of a shell argument
    (folder / "cat.png").write_bytes(make_image_bytes(60, 40, form="PNG"))
    return folder


def adapt_example(served, text):
    """Return the example with the address and the model of the test service."""
    return text.replace("localhost:8000", f"127.0.0.1:{served.port}").replace("everyday", "tiny-random").replace("0.5", "0.05")


def test_every_protocol_has_an_example():
    assert len(SCRIPTS) == 2
    for path in ("/detect", "/v1/vision/detection", "/v1/vision/custom/", "/v2/models/", ":predict"):
        assert any(path in curl for curl in CURLS), path


@pytest.mark.parametrize("curl", CURLS)
def test_a_curl_example_is_answered(served, folder, curl):
    command = adapt_example(served, curl).replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
    result = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout, result.stderr)
    assert json.loads(result.stdout)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_example_prints_the_detections(served, folder, script, native):
    result = subprocess.run([sys.executable, "-c", adapt_example(served, script)], cwd=folder, capture_output=True, text=True, check=True)
    detections = native((folder / "dog.jpg").read_bytes())
    assert [line.split()[0] for line in result.stdout.splitlines()] == [detection["label"] for detection in detections]
