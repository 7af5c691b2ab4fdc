"""Memory of `boxwright data` with the largest allowed images."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = r"""
import re
from pathlib import Path
from cli.main import run
try:
    run()
finally:
    print("peak", int(re.search("VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def peak_of_check(folder, *, images):
    """Return the peak memory of `boxwright data check` in MiB, and assert the number of checked images."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", SCRIPT, "data", "check", str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert f"images\t{images}\n" in result.stdout, result.stderr
    return int(result.stdout.rpartition("peak ")[2])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_images_of_64_megapixels_are_checked_within_little_more_memory_than_one_of_them(tmp_path):
    """Four files of 250 KB took 3 GB, because several were decoded at the same time, and freed memory was kept for each thread."""
    first = tmp_path / "JPEGImages" / "0.png"
    first.parent.mkdir()
    (tmp_path / "Annotations").mkdir()
    Image.new("RGBA", (8000, 8000)).save(first)
    for number in range(4):
        first.with_stem(str(number)).write_bytes(first.read_bytes())
        (tmp_path / "Annotations" / f"{number}.xml").write_text("<annotation/>")
    assert peak_of_check(tmp_path, images=4) < 1500


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_large_annotations_are_parsed_one_after_the_other(tmp_path):
    """Six threads took 300 MB each for files of 8 MB."""
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    for number in range(6):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / "JPEGImages" / f"{number}.png")
        (tmp_path / "Annotations" / f"{number}.xml").write_text("<annotation>" + '<a b=""/>' * 300_000 + "</annotation>")
    assert peak_of_check(tmp_path, images=6) < 480
