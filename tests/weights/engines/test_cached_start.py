"""The engine cache through the command line, in a separate process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.engines.onnxruntime import GRAPH_FILE

ROOT = Path(__file__).resolve().parents[3]
IMAGE = ROOT / "docs" / "photos" / "cat.jpg"


def detect(home, *options):
    environment = {name: value for name, value in os.environ.items() if name != "BOXWRIGHT_ENGINES"} | {"BOXWRIGHT_HOME": str(home)}
    command = [sys.executable, "-m", "cli.main", "detect", str(IMAGE), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_detect_caches_the_engine_and_the_second_run_uses_it(tmp_path, options):
    first = detect(tmp_path, *options)
    assert (first.returncode, first.stderr) == (0, "")
    assert "cat" in first.stdout
    (engine,) = (tmp_path / "engines").iterdir()
    assert (engine / GRAPH_FILE).is_file()
    os.utime(engine, (1000, 1000))  # each use sets the current time
    second = detect(tmp_path, *options)
    assert (second.returncode, second.stderr) == (0, "")
    assert engine.stat().st_mtime > 1000
    assert list((tmp_path / "engines").iterdir()) == [engine]


def test_an_image_that_cannot_be_read_does_not_prevent_caching(tmp_path):
    failed = detect(tmp_path, str(tmp_path / "missing.jpg"))
    assert failed.returncode == 1
    assert "cached" not in failed.stderr
    (engine,) = (tmp_path / "engines").iterdir()
    assert (engine / GRAPH_FILE).is_file()
