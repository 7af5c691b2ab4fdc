"""What the README shows is run, line by line, and answers what it says."""

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
SHORT = {"finetune": ["--epochs", "1", "--batch-size", "1", "--sizes", "64"]}
"""What is added to commands that would take minutes."""
SERVED = "http://localhost:8000"
DOWNLOADED = "yolov2-voc"  # what is about it is tested, against a server of our own, in tests/weights/hub/test_pull_command.py


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """A folder as the README's reader has it: the photos, Darknet files of their own, annotated data."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "docs" / "photos", folder / "docs" / "photos")
    write_darknet(tiny_model, folder / "mine.cfg", folder / "mine.weights")
    (folder / "mine.names").write_text("\n".join(tiny_model.spec.labels))
    assert "$ mkdir models" in LINES
    (folder / "models").mkdir()
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / "mydata" / part).mkdir(parents=True)
    with Image.open(ROOT / "docs" / "photos" / "cat.jpg") as cat:
        annotate(folder / "mydata", "train", "mirrored", ImageOps.mirror(cat), (14, 451))
        annotate(folder / "mydata", "val", "cat", cat, (1, 438))
    return folder


def annotate(data, image_set, name, photo, across):
    """A photo of a cat, its box from and to these columns, and the list that has it."""
    photo.save(data / "JPEGImages" / f"{name}.jpg")
    (data / "ImageSets" / "Main" / f"{image_set}.txt").write_text(f"{name}\n")
    box = f"<bndbox><xmin>{across[0]}</xmin><ymin>1</ymin><xmax>{across[1]}</xmax><ymax>257</ymax></bndbox>"
    (data / "Annotations" / f"{name}.xml").write_text(f"<annotation><object><name>cat</name>{box}</object></annotation>")


def run(arguments, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BOXWRIGHT_HOME": str(folder / "home"), "BOXWRIGHT_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-m", "cli.main", *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_two_commands_come_first():
    assert LINES.index("$ make serve") < LINES.index("$ make test") < LINES.index(f"$ boxwright {COMMANDS[0]}")
    makefile = (ROOT / "Makefile").read_text()
    assert "\nserve:" in makefile
    assert "\ntest:" in makefile


def test_every_command_that_needs_no_download_runs(folder):
    chosen = [command for command in COMMANDS if DOWNLOADED not in command and SERVED not in command]
    assert len(chosen) >= 8
    for command in chosen:
        words = shlex.split(command)
        ended = run(words + SHORT.get(words[0], []), folder)
        assert ended.returncode == 0, f"boxwright {command}: {ended.stderr}"
    assert (folder / "annotated" / "cat.boxes.jpg").read_bytes() == (ROOT / "docs" / "photos" / "cat.boxes.jpg").read_bytes()


def test_commands_that_need_a_download_say_what_to_do_without_one(folder):
    chosen = [command for command in COMMANDS if DOWNLOADED in command]
    assert len(chosen) == 3
    for command in chosen:
        ended = run(shlex.split(command), folder)
        assert ended.returncode == 2
        assert f"boxwright weights pull {DOWNLOADED}" in ended.stderr


@pytest.fixture(scope="module")
def service(start_service):
    service = start_service()
    yield service
    service.stop()


def test_commands_that_ask_a_service_run(folder, service):
    (command,) = [command for command in COMMANDS if SERVED in command]
    ended = run(shlex.split(command.replace(SERVED, service.url)), folder)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 2


def test_curl_is_answered_as_shown(folder, service):
    shown = json.loads(LINES[LINES.index(f"$ {CURLS[0]}") + 1])
    lines = [[*shlex.split(curl.replace(":8000", f":{service.port}")), "-sS"] for curl in CURLS]
    answer, _ = (subprocess.run(line, cwd=folder, capture_output=True, check=True).stdout for line in lines)
    answer = json.loads(answer)
    assert answer["timing_ms"].keys() == shown["timing_ms"].keys()
    del answer["timing_ms"], shown["timing_ms"]
    (ours,), (theirs,) = answer.pop("detections"), shown.pop("detections")
    assert answer == shown
    assert ours["label"] == theirs["label"]
    assert ours["score"] == pytest.approx(theirs["score"], abs=1e-3)
    assert ours["box"] == pytest.approx(theirs["box"], abs=0.5)
    assert (folder / "cat.boxes.jpg").read_bytes().startswith(b"\xff\xd8")
