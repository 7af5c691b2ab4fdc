"""Memory of `boxwright data` with the largest allowed images."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import resource, sys
from cli.main import run
try:
    run()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


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
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", SCRIPT, "data", "check", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert "images\t4\n" in result.stdout, result.stderr
    assert int(result.stdout.rpartition("peak ")[2]) < 1500
