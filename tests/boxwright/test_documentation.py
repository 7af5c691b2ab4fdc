"""The code in docs/python.md runs as shown."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCAL, REMOTE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def in_a_folder_with_images(tmp_path, monkeypatch):
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_a_folder_with_images")
def test_the_local_example_prints_the_cat_and_saves_a_drawing(capsys, tmp_path):
    exec(LOCAL, {})
    assert capsys.readouterr().out.startswith("cat 0.")
    assert (tmp_path / "cat.boxes.jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.usefixtures("in_a_folder_with_images")
def test_the_remote_example_detects_the_cat(start_service):
    service = start_service()
    namespace = {}
    exec(REMOTE.replace("http://localhost:8000", service.url), namespace)
    service.stop()
    assert [detection.label for detection in namespace["result"]] == ["cat"]
