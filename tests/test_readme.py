"""The `boxwright` and curl commands of the README run offline. Commands that need a download fail, and the error names the command
that pulls the model."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from weights.formats.darknet.weights import write_darknet

ROOT = Path(__file__).resolve().parents[1]
LINES = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
COMMANDS = [line.removeprefix("$ boxwright ") for line in LINES if line.startswith("$ boxwright ")]
CURLS = [line.removeprefix("$ ") for line in LINES if line.startswith("$ curl ")]
EXTRA_OPTIONS = {"finetune": ["--epochs", "1", "--batch-size", "1", "--sizes", "64"], "detect": ["--precision", "float32"]}
"""Options that make training short, and results independent of the processor."""
SERVICE_URL = "http://localhost:8000"
DOWNLOADED_MODEL = "yolov2-voc"  # tests/weights/hub/test_pull_command.py tests its download, from a local server


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """The files of a reader of the README: images, Darknet files and annotated data."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "docs" / "photos", folder / "docs" / "photos")
    write_darknet(tiny_model, folder / "mine.cfg", folder / "mine.weights")
    (folder / "mine.names").write_text("\n".join(tiny_model.spec.labels))
    assert "$ mkdir models" in LINES
    (folder / "models").mkdir()
    (folder / "mydata").mkdir()
    with Image.open(ROOT / "docs" / "photos" / "cat.jpg") as cat:
        for brightness in (0.8, 0.9, 1.0):
            darker = cat.point(lambda value, brightness=brightness: int(value * brightness))
            annotate(folder / "mydata", f"mirrored-{brightness}", ImageOps.mirror(darker), (14, 451))
            annotate(folder / "mydata", f"cat-{brightness}", darker, (1, 438))
    return folder


def annotate(data, name, image, columns):
    """Write an image of a cat and, as LabelImg does, an .xml file next to it with a box between the two columns."""
    image.save(data / f"{name}.jpg")
    box = f"<bndbox><xmin>{columns[0]}</xmin><ymin>1</ymin><xmax>{columns[1]}</xmax><ymax>257</ymax></bndbox>"
    (data / f"{name}.xml").write_text(f"<annotation><object><name>cat</name>{box}</object></annotation>")


def environment(folder):
    return os.environ | {"PYTHONPATH": str(ROOT), "BOXWRIGHT_HOME": str(folder / "home"), "BOXWRIGHT_OFFLINE": "1"}


def run(arguments, folder):
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)


def split_command(command):
    return shlex.split(command, comments=True)


def serve_until_ready(arguments, folder):
    """Start the service on a free port, stop it when its log reports that it listens, and return its exit code."""
    command = [sys.executable, "-m", "cli.main", *arguments, "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True) as process:
        log = []
        for line in process.stderr:
            log.append(line)
            if "Uvicorn running" in line:
                process.terminate()
    assert any("Uvicorn running" in line for line in log), "".join(log)
    return process.returncode


def test_make_serve_and_make_test_are_the_first_commands():
    assert LINES.index("$ make serve") < LINES.index("$ make test") < LINES.index(f"$ boxwright {COMMANDS[0]}")
    makefile = (ROOT / "Makefile").read_text()
    assert "\nserve:" in makefile
    assert "\ntest:" in makefile


def test_every_command_that_needs_no_download_runs(folder):
    chosen = [command for command in COMMANDS if DOWNLOADED_MODEL not in command and SERVICE_URL not in command]
    assert len(chosen) >= 8
    for command in chosen:
        arguments = split_command(command)
        if arguments[0] == "serve":
            assert serve_until_ready(arguments, folder) == 0
            continue
        completed = run(arguments + EXTRA_OPTIONS.get(arguments[0], []), folder)
        assert completed.returncode == 0, f"boxwright {command}: {completed.stderr}"
        assert "Traceback" not in completed.stderr
    assert (folder / "annotated" / "cat.boxes.jpg").read_bytes() == (ROOT / "docs" / "photos" / "cat.boxes.jpg").read_bytes()


def test_the_readme_shows_the_commands_for_own_data_in_order():
    names = [" ".join(split_command(command)[: 2 if command.startswith("data") else 1]) for command in COMMANDS]
    start = names.index("data check")
    assert names[start : start + 6] == ["data check", "data split", "data preview", "finetune", "detect", "serve"]


def test_the_commands_for_the_raccoon_data_make_a_valid_data_set(folder):
    published = folder / "raccoon"
    for name, source in (("images", "*.jpg"), ("annotations", "*.xml")):
        (published / "raccoon_dataset" / name).mkdir(parents=True)
        for path in (folder / "mydata").glob(source):
            shutil.copy(path, published / "raccoon_dataset" / name)
    first = LINES.index("git clone https://github.com/datitran/raccoon_dataset")
    copies = LINES[first + 1 : LINES.index("```", first)]
    subprocess.run(" && ".join(copies), shell=True, cwd=published, check=True)
    completed = run(["data", "check", "mydata"], published)
    assert (completed.returncode, completed.stdout.splitlines()[:2]) == (0, ["cat\t6", "boxes\t6"])


def test_commands_that_need_a_download_name_the_pull_command(folder):
    chosen = [command for command in COMMANDS if DOWNLOADED_MODEL in command]
    assert len(chosen) == 3
    for command in chosen:
        completed = run(split_command(command), folder)
        assert completed.returncode == 2
        assert f"boxwright weights pull {DOWNLOADED_MODEL}" in completed.stderr


@pytest.fixture(scope="module")
def service(start_service):
    service = start_service(BOXWRIGHT_PRECISION="float32")  # as in the README; the default depends on the processor
    yield service
    service.stop()


def test_command_that_uses_a_service_runs(folder, service):
    (command,) = [command for command in COMMANDS if SERVICE_URL in command]
    completed = run(shlex.split(command.replace(SERVICE_URL, service.url)), folder)
    assert completed.returncode == 0, completed.stderr
    assert len(completed.stdout.splitlines()) == 2


def test_curl_commands_return_the_response_in_the_readme(folder, service):
    documented = json.loads(LINES[LINES.index(f"$ {CURLS[0]}") + 1])
    lines = [[*shlex.split(curl.replace(":8000", f":{service.port}")), "-sS"] for curl in CURLS]
    body, _ = (subprocess.run(line, cwd=folder, capture_output=True, check=True).stdout for line in lines)
    response = json.loads(body)
    assert response["timing_ms"].keys() == documented["timing_ms"].keys()
    del response["timing_ms"], documented["timing_ms"]
    (actual,), (expected,) = response.pop("detections"), documented.pop("detections")
    assert response == documented
    assert actual["label"] == expected["label"]
    assert actual["score"] == pytest.approx(expected["score"], abs=1e-3)
    assert actual["box"] == pytest.approx(expected["box"], abs=0.5)
    assert (folder / "cat.boxes.jpg").read_bytes().startswith(b"\xff\xd8")
